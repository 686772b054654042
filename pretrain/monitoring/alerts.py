"""Judges every row by the rules of a run. What a rule finds becomes an event, which the other sinks pass on."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from pretrain.config.alerts import Alert
from pretrain.monitoring.metrics import Kind, Row

Tell = Callable[[Row, str, str], None]
"""Called with the row, the rule in a few words, and what there is to tell."""


class Alerts:
    """A sink that tells. A rule is told once about a number until that is within its bounds again."""

    def __init__(self, rules: Sequence[Alert], tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._rules, self._tell, self._clock = rules, tell, clock
        self._watches: dict[tuple[int, str], Watch] = {}
        self._told: dict[tuple[int, str], float] = {}

    def write(self, kind: Kind, row: Row) -> None:
        """Judge one row."""
        numbers = {} if kind == "event" else _numbers(kind, row)
        what = str(row.get("what")) if kind == "event" else ""
        for number, rule in enumerate(self._rules):
            if what in rule.event:
                self._say(row, (number, what), rule, str(row["message"]))
            for name in [name for name in numbers if rule.metric and fnmatchcase(name, rule.metric)]:
                watch = self._watches.setdefault((number, name), Watch(rule))
                if found := watch.see(int(row["step"]), numbers[name]):
                    watch.told = self._say(row, (number, name), rule, f"{name} {found}")

    def flush(self) -> None:
        """Nothing is held back."""

    def rewind(self, step: int) -> None:
        """What was seen is void."""
        self._watches.clear()

    def close(self) -> None:
        """Nothing to do."""

    def _say(self, row: Row, about: tuple[int, str], rule: Alert, message: str) -> bool:
        """Tell, unless it is too soon after the last time."""
        now = self._clock()
        if now - self._told.get(about, float("-inf")) < rule.at_most_every:
            return False
        self._told[about] = now
        self._tell(row, rule.title, message)
        return True


class Finding(NamedTuple):
    """A number outside its bounds."""

    value: float
    bound: str
    steps: int

    def __str__(self) -> str:
        return f"is {self.value:.5g}, {self.bound}" + (f", for {self.steps} steps" if self.steps > 1 else "")


class Watch:
    """One number under one rule."""

    def __init__(self, rule: Alert) -> None:
        self._rule, self._before = rule, deque[float](maxlen=rule.average_over or 1)
        self._since: int | None = None
        self.told = False
        """Whether the breach that goes on was told."""

    def see(self, step: int, value: float) -> Finding | None:
        """What there is to tell of the value of `step`."""
        bound = self._broken(value)
        if math.isfinite(value):  # a gradient that overflowed would be in the mean for all its rows
            self._before.append(value)
        if bound is None:
            self._since, self.told = None, False
            return None
        self._since = step if self._since is None else self._since
        steps = step - self._since + 1
        return None if self.told or steps < self._rule.for_steps else Finding(value, bound, steps)

    def _broken(self, value: float) -> str | None:
        """The bound that the value is beyond, in words."""
        unit, words = 1.0, ""
        if self._rule.average_over:
            if len(self._before) < self._rule.average_over:
                return None
            unit = sum(self._before) / len(self._before)
            words = f" times its mean of {len(self._before)} rows ({unit:.5g})"
        if self._rule.above is not None and value > self._rule.above * unit:
            return f"above {self._rule.above:g}{words}"
        if self._rule.below is not None and value < self._rule.below * unit:
            return f"below {self._rule.below:g}{words}"
        return None


def _numbers(kind: Kind, row: Row) -> dict[str, float]:
    """Of a row, under the names that W&B shows."""
    prefix = "" if kind == "train" else f"{kind}/"
    return {prefix + name: value for name, value in row.items() if name != "step" and not isinstance(value, str)}
