"""Where the time of a run went, as far as its files tell."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretrain.monitoring.report.read import RunRecord
from pretrain.resilience.attempts import Attempt

PARTS = ("steps", "data wait", "validation", "checkpoints", "done again", "between attempts", "the rest")
LOST = ("data wait", "checkpoints", "done again", "between attempts")
"""Time in which nothing was learnt or measured."""


@dataclass(frozen=True)
class Budget:
    """Seconds."""

    parts: dict[str, float]
    """By name, in the order of PARTS. `steps` are those that count, without the wait for data; `done again` is
    estimated from the steps lost at restarts and rollbacks; `the rest` is starting, n-grams and the last save.
    """
    whole: float | None
    """From the first start to the end, or to the last sign of life; None where no attempt was recorded."""

    @property
    def lost(self) -> float:
        """What of it was lost."""
        return sum(self.parts.get(name, 0.0) for name in LOST)


def budget(run: RunRecord) -> Budget:
    """What is not known counts as nothing."""
    train = run.train
    each = np.maximum(np.diff(train["step"], prepend=0), 1)  # a row stands for the steps since the row before it
    waits = float(np.nansum(each * train["data_seconds"])) if "data_seconds" in train else 0.0
    steps = float(np.nansum(each * train["step_seconds"])) if "step_seconds" in train else 0.0
    usual = float(np.nanmedian(train["step_seconds"])) if "step_seconds" in train else 0.0
    parts = {
        "steps": steps - waits,
        "data wait": waits,
        "validation": float(np.nansum(run.validation["validation_seconds"])),
        "checkpoints": float(np.nansum(run.tables["checkpoint"]["blocked_seconds"])),
        "done again": usual * (sum(lost_steps(run)) + sum(row.step - row.to_step for row in run.skipped)),
        "between attempts": sum(gap or 0.0 for gap in gaps(run)),
    }
    whole = _whole(run)
    if whole is not None:
        parts["the rest"] = max(0.0, whole - sum(parts.values()))
    return Budget(parts, whole)


def lost_steps(run: RunRecord) -> list[int]:
    """Of each attempt, the steps that the next one did again."""
    return [
        max(0, (before.last_step or 0) - (after.first_step or 0)) if after.first_step is not None else 0
        for before, after in _neighbours(run)
    ] + ([0] if run.attempts else [])


def gaps(run: RunRecord) -> list[float | None]:
    """Of each attempt, the seconds from its end to the next start; None where one of them is not known."""
    return [
        after.started - before.ended if before.ended and after.started else None for before, after in _neighbours(run)
    ] + ([None] if run.attempts else [])


def _neighbours(run: RunRecord) -> list[tuple[Attempt, Attempt]]:
    return list(itertools.pairwise(run.attempts))


def _whole(run: RunRecord) -> float | None:
    starts = [attempt.started for attempt in run.attempts if attempt.started]
    ends: list[Any] = [attempt.ended for attempt in run.attempts if attempt.ended]
    if isinstance(run.beat.get("time"), float):
        ends.append(run.beat["time"])
    return max(ends) - min(starts) if starts and ends else None
