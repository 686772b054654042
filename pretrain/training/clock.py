"""When to validate and when to save."""

from __future__ import annotations

import time

from pretrain.checkpoint.state import TrainState
from pretrain.config.run import Run
from pretrain.config.units import Interval


class Clock:
    """Whether an Interval is over: by steps or tokens computed, by seconds counted since the last restart."""

    def __init__(self, interval: Interval | None) -> None:
        self._interval = interval
        self._started = time.monotonic()

    def due(self, before: TrainState, now: TrainState) -> bool:
        """Whether a multiple of the interval was reached between two states; a pure function of them."""
        if self._interval is None or self._interval.unit == "seconds":
            return False
        unit, amount = ("step" if self._interval.unit == "steps" else "tokens"), self._interval.amount
        return int(getattr(now, unit) // amount) > int(getattr(before, unit) // amount)

    def rings(self, mine: bool) -> bool:
        """Whether the seconds are over. Only the rank whose clock counts (`mine`) says so; the others are told."""
        if not mine or self._interval is None or self._interval.unit != "seconds":
            return False
        return time.monotonic() - self._started >= self._interval.amount

    def restart(self) -> None:
        """Count seconds from now."""
        self._started = time.monotonic()


class Clocks:
    """Those of a run."""

    def __init__(self, run: Run) -> None:
        self.validate, self.save = Clock(run.train.validate_every), Clock(run.checkpoint.every)
