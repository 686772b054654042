"""Signals to the supervisor: collected, and passed on to the run as a `stop` request.

Needs nothing but Python itself.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType

from pretrain.config.errors import ConfigError
from pretrain.resilience.stop import Then, request_stop


class Signals:
    """Collects SIGUSR1, SIGTERM, SIGINT and SIGHUP. Handlers do nothing else."""

    def __init__(self, slurm: bool) -> None:
        self.slurm = slurm
        self.caught: list[signal.Signals] = []
        self._read = 0
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._catch)

    def news(self) -> list[signal.Signals]:
        """Signals since the last call."""
        news, self._read = self.caught[self._read :], len(self.caught)
        return news

    def then(self, number: signal.Signals) -> Then:
        """What a signal wishes: under SLURM all but SIGINT come from the scheduler, which takes the nodes away."""
        return "requeue" if number == signal.SIGUSR1 or (self.slurm and number == signal.SIGTERM) else "end"

    @property
    def wish_to_end(self) -> str:
        """Which of them said not to go on; empty when none did."""
        return next((number.name for number in self.caught if self.then(number) == "end"), "")

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.caught.append(signal.Signals(number))


class Requests:
    """Writes what signals wish into the run directory, again and again while its disk is full."""

    def __init__(self, directory: Path, signals: Signals, grace: float) -> None:
        self._directory, self._signals, self._grace = directory, signals, grace
        self._first: tuple[str, float] | None = None
        """Of the first signal, its name and when it came."""
        self._unwritten: list[signal.Signals] = []

    def trouble(self) -> str:
        """Why the command must be ended: a second interrupt, or it did not obey in time. To be called all the time."""
        news = self._signals.news()
        twice = news.count(signal.SIGINT) + (self._first is not None) > 1 and signal.SIGINT in news
        if news and self._first is None:
            self._first = news[0].name, time.monotonic()
        self._unwritten = [caught for caught in self._unwritten + news if not self._write(caught)]
        if twice:
            return "interrupted twice"
        if self._first and time.monotonic() - self._first[1] > self._grace:
            return f"did not end within {self._grace:.0f} s of {self._first[0]}"
        return ""

    def _write(self, caught: signal.Signals) -> bool:
        try:
            request_stop(self._directory, _meaning(caught, self._signals.slurm), self._signals.then(caught))
        except (OSError, ConfigError):  # the latter for a full disk
            return False
        return True


def _meaning(caught: signal.Signals, slurm: bool) -> str:
    if caught == signal.SIGUSR1:
        return "SIGUSR1: the time limit is near" if slurm else "SIGUSR1"
    return f"{caught.name}: SLURM takes the nodes back" if slurm and caught == signal.SIGTERM else caught.name
