"""Slow ranks: whose forward passes take longer than the others', window after window."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from pretrain.config.resilience import Stragglers


@dataclass(frozen=True)
class Told:
    """What one rank told of one window."""

    rank: int
    host: str
    stage: int
    """Of the pipeline: stages differ in what they compute, so each is compared with its like."""
    seconds: float


@dataclass(frozen=True)
class Slow:
    """A rank that was slow in several windows in a row."""

    rank: int
    host: str
    ratio: float
    """Its seconds / the median of its stage."""


@dataclass
class Pace:
    """Collects the seconds that each rank computed in each window of steps; filled by one thread, read by another."""

    config: Stragglers
    slow: list[Slow] = field(default_factory=list)
    """Those that are slow now."""
    news: list[str] = field(default_factory=list)
    """What is to be told; the reader empties it."""
    _open: dict[int, list[Told]] = field(default_factory=dict)
    _streak: dict[int, int] = field(default_factory=dict)

    def add(self, window: int, told: Told, size: int) -> None:
        """One rank's computing in one window; when all `size` have told theirs, the window is judged."""
        heard = self._open.setdefault(window, [])
        heard.append(told)
        if len(heard) == size:
            self._judge(self._open.pop(window))
            self._open = {other: rest for other, rest in self._open.items() if other > window}

    def _judge(self, heard: list[Told]) -> None:
        before, hosts = {slow.rank for slow in self.slow}, {told.rank: told.host for told in heard}
        ratios: dict[int, float] = {}
        for stage in {told.stage for told in heard}:
            seconds = {told.rank: told.seconds for told in heard if told.stage == stage}
            ratios |= slow_ratios(seconds, self.config.ratio)
        self._streak = {rank: self._streak.get(rank, 0) + 1 for rank in ratios}
        self.slow = [
            Slow(rank, hosts[rank], ratios[rank])
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
