"""Slow ranks: whose forward passes take longer than the others', window after window."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from pretrain.config.resilience import Stragglers


@dataclass(frozen=True)
class Slow:
    """A rank that was slow in several windows in a row."""

    rank: int
    host: str
    ratio: float
    """Its seconds / the median of all ranks."""


@dataclass
class Pace:
    """Collects the seconds that each rank computed in each window of steps; filled by one thread, read by another."""

    config: Stragglers
    slow: list[Slow] = field(default_factory=list)
    """Those that are slow now."""
    news: list[str] = field(default_factory=list)
    """What is to be told; the reader empties it."""
    _open: dict[int, dict[int, tuple[str, float]]] = field(default_factory=dict)
    _streak: dict[int, int] = field(default_factory=dict)

    def add(self, window: int, rank: int, host: str, seconds: float, size: int) -> None:
        """One rank's computing in one window; when all have told theirs, the window is judged."""
        told = self._open.setdefault(window, {})
        told[rank] = (host, seconds)
        if len(told) == size:
            self._judge(window, self._open.pop(window))
            self._open = {other: rest for other, rest in self._open.items() if other > window}

    def _judge(self, window: int, told: dict[int, tuple[str, float]]) -> None:
        before = {slow.rank for slow in self.slow}
        ratios = slow_ratios({rank: seconds for rank, (_, seconds) in told.items()}, self.config.ratio)
        self._streak = {rank: self._streak.get(rank, 0) + 1 for rank in ratios}
        self.slow = [
            Slow(rank, told[rank][0], ratios[rank])
            for rank, streak in sorted(self._streak.items())
            if streak >= self.config.windows
        ]
        self.news += [
            f"rank {slow.rank} on {slow.host} is slow: {slow.ratio:.2f} times the median of the computing time, "
            f"{self.config.windows} windows of {self.config.window} steps in a row"
            for slow in self.slow
            if slow.rank not in before
        ]
        gone = sorted(before - {slow.rank for slow in self.slow})
        self.news += [f"rank {rank} is no longer slow" for rank in gone]


def slow_ratios(seconds: dict[int, float], limit: float) -> dict[int, float]:
    """Of the ranks above `limit` times the median, how far above. With two ranks the quicker one is the measure."""
    usual = median(seconds.values()) if len(seconds) > 2 else min(seconds.values())
    return {rank: mine / usual for rank, mine in seconds.items() if usual > 0 and mine > limit * usual}
