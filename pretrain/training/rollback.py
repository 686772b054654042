"""Going back to an earlier checkpoint inside the running processes, without the batches around a spike.

The remedy of PaLM (Chowdhery et al. 2022, section 5.1). In this order, so that a kill at any moment leaves a state from
which the run goes on:

1. skipped.json  gets the window. From here on a restart does all that follows by itself (resume.py).
2. Checkpoints   of after the one to go back to are set aside; until all are, those left are known to be void.
3. Load          model, optimizer and random numbers into the engines that run.
4. Metrics       metrics.jsonl is cut back to that step, as on any restart, and told what happened.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import orjson

from pretrain.checkpoint.files import list_checkpoints, step_of
from pretrain.checkpoint.state import TrainState
from pretrain.config.errors import ConfigError, RunError
from pretrain.data.origin import Origin, document_id, origins
from pretrain.data.plan import Window
from pretrain.monitoring.metrics import Metrics
from pretrain.resilience.skipped import Skipped, add_skipped
from pretrain.training.directory import RunDirectory
from pretrain.training.resume import go_on, remove_void
from pretrain.training.setup import Session
from pretrain.training.spikes import SHOWN, RollBack
from pretrain.training.step import DivergedError


def roll_back(
    session: Session, directory: RunDirectory, wanted: RollBack, metrics: Metrics
) -> tuple[Session, TrainState]:
    """The session and the state to go on with. All ranks call it together.

    Raises DivergedError when there is no checkpoint to go back to, RunError when the window cannot be written.
    """
    world = session.world
    metrics.flush()
    target = world.first(_target(directory.checkpoints, session) if world.is_writer else None)
    if target is None:
        raise DivergedError(f"{wanted.message}. There is no checkpoint to go back to: set checkpoint.every")
    error = _write(session, directory, wanted, Path(target)) if world.is_writer else None
    if (told := world.first(error)) is not None:
        raise RunError(f"{wanted.message}. No rollback, the window cannot be written: {told}")
    session, state, messages = go_on(session, directory)
    metrics.rewind(state.step)
    for message in messages:
        more = {"what": "rollback"} if wanted.message in message else {}
        metrics.event(state.step, state.tokens, message, **more)
    return session, state


def window_around(session: Session, step: int, to_step: int) -> Window:
    """The samples to leave out for a spike at `step` (from 0): what is before `to_step` was learnt and stays."""
    config = session.run.resilience.spikes.rollback
    return session.plan.window(range(max(to_step, step - config.before), step + config.after + 1))


def _target(checkpoints: Path, session: Session) -> str | None:
    """The checkpoint to go back to: so many back as the run says, or the oldest."""
    found = list_checkpoints(checkpoints)[: session.run.resilience.spikes.rollback.checkpoints]
    return str(found[-1]) if found else None


def _write(session: Session, directory: RunDirectory, wanted: RollBack, target: Path) -> str | None:
    """Write down what is left out: each sample in logs/, then skipped.json. Returns what went wrong."""
    window = window_around(session, wanted.step, step_of(target))
    try:
        left_out = origins(session.corpus, session.order, _samples(window))
        path = directory.path / "logs" / f"skipped-{window.first_sample}.jsonl"
        path.write_bytes(b"".join(orjson.dumps(origin.plain()) + b"\n" for origin in left_out))
        remove_void(directory.checkpoints)
        message = (
            f"{wanted.message}: back to {target.name}, without {_words(session, wanted.step, left_out)}; all of them "
            f"are in logs/{path.name}"
        )
        row = Skipped(
            window.first_sample, window.samples, wanted.step + 1, step_of(target), wanted.finding.plain(), message
        )
        add_skipped(directory.path, row)
    except (OSError, ConfigError) as error:
        return str(error)
    return None


def _words(session: Session, step: int, left_out: list[Origin]) -> str:
    """Samples, sources and shards that are left out, and some documents of the batch at the spike."""
    sources = Counter(origin.source for origin in left_out)
    shards = Counter(origin.shard for origin in left_out)
    at = session.plan.window(range(step, step + 1))
    batch = [o for o in left_out if at.first_sample <= o.sample < at.first_sample + at.samples]
    counts = ", ".join(f"{number} of {name}" for name, number in sources.most_common())
    names = ", ".join(name for name, _ in shards.most_common(SHOWN)) + (", ..." if len(shards) > SHOWN else "")
    documents = ", ".join(document_id(session.corpus, origin) for origin in batch[:SHOWN])
    first, last = left_out[0].sample, left_out[-1].sample
    return f"samples {first} to {last} of the order ({counts}; shards {names}; at the spike {documents})"


def _samples(window: Window) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(window.first_sample, window.first_sample + window.samples, dtype=np.int64)
