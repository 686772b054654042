"""When a step is looked into, and the row that it leaves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

from pretrain.checkpoint.state import TrainState
from pretrain.monitoring.jsonl import read_rows
from pretrain.monitoring.noise import Estimate, Smoothed, estimate
from pretrain.parallel.inside import Looking
from pretrain.parallel.runner import Runner
from pretrain.training.clock import Clock
from pretrain.training.setup import Session

Row = dict[str, float | int | str]


class Insight:
    """Looks into the steps that are due; the others run as if it were not there.

    The averages behind the noise scale follow from the rows in metrics.jsonl, which every resume cuts back: a run that
    goes on has those of a run that was never stopped.
    """

    def __init__(self, session: Session) -> None:
        self._session, config = session, session.run.monitoring.inside
        self._clock = Clock(config.every if config else None)
        self._looking: Looking | None = None
        if config and session.world.is_writer:
            rows = Path(session.run.run_directory) / "metrics.jsonl"
            self._noise = Smoothed.of(config.noise_decay, _estimates(rows))

    def begin(self, state: TrainState) -> Session:
        """The session with which to make the step after `state`."""
        session, self._looking = self._session, None
        if session.run.monitoring.inside is None:
            return session
        after = replace(state, step=state.step + 1, tokens=session.plan.tokens_before(state.step + 1))
        if not self._clock.due(state, after):
            return session
        self._looking = Looking(session.runner, session.run, session.mesh)
        return replace(session, runner=cast(Runner, self._looking))

    def row(self, state: TrainState) -> Row | None:
        """What the step that led to `state` looked like inside, on the writing rank. All ranks call it together."""
        if self._looking is None:
            return None
        seen, self._looking = self._looking.total(), None
        if not self._session.world.is_writer:
            return None
        row: Row = {"step": state.step, "tokens": state.tokens, **seen.columns}
        if (one := estimate(seen.gradients)) is not None and math.isfinite(one.signal + one.variance):
            self._noise.add(one)
            row |= {"noise_signal": one.signal, "noise_variance": one.variance}
            if (scale := self._noise.scale) is not None:
                row["noise_scale_tokens"] = scale
        return row


def _estimates(path: Path) -> Iterator[Estimate]:
    """Of the rows that were written before."""
    for row in read_rows(path):
        if row["kind"] == "inside" and "noise_signal" in row:
            yield Estimate(row["noise_signal"], row["noise_variance"])
