"""Where the time of a run went, as far as its files tell."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretrain.monitoring.report.read import RunRecord
from pretrain.monitoring.report.table import Column
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
    each = _each(run)
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
    """Of each attempt, the seconds from its end to the next start; None where a start is not known, and of the last.

    Where nobody wrote the end (a killed process), all of its time that left nothing behind.
    """
    return [_gap(run, before, after) for before, after in _neighbours(run)] + ([None] if run.attempts else [])


def _gap(run: RunRecord, before: Attempt, after: Attempt) -> float | None:
    if after.started is None or (begun := before.ended or before.started) is None:
        return None
    if before.ended:
        return after.started - begun
    return max(0.0, after.started - begun - _kept(run, before.first_step or 0, after.first_step or 0))


def _kept(run: RunRecord, first: int, last: int) -> float:
    """Seconds of the steps after `first` up to `last` that count, with their validations and checkpoints."""
    steps, train = run.train["step"], run.train["step_seconds"] * _each(run)
    found = [(steps, train), (run.validation["step"], run.validation["validation_seconds"])]
    checkpoints = run.tables["checkpoint"]
    found.append((checkpoints["step"], checkpoints["blocked_seconds"]))
    return sum(float(np.nansum(seconds[(step > first) & (step <= last)])) for step, seconds in found)


def _each(run: RunRecord) -> Column:
    """Steps that each row stands for: those since the row before it."""
    return np.maximum(np.diff(run.train["step"], prepend=0), 1)


def _neighbours(run: RunRecord) -> list[tuple[Attempt, Attempt]]:
    return list(itertools.pairwise(run.attempts))


def _whole(run: RunRecord) -> float | None:
    starts = [attempt.started for attempt in run.attempts if attempt.started]
    ends: list[Any] = [attempt.ended for attempt in run.attempts if attempt.ended]
    if isinstance(run.beat.get("time"), float):
        ends.append(run.beat["time"])
    return max(ends) - min(starts) if starts and ends else None
