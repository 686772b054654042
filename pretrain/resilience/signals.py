"""Requests to stop: a signal, or a file in the run directory. Ranks agree on it at a step boundary, save and end."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from pretrain.resilience.stop import StopRequest, Then, read_stop

THEN: dict[signal.Signals, Then] = {signal.SIGTERM: "requeue", signal.SIGUSR1: "requeue", signal.SIGINT: "end"}
"""What is to happen after the signal: schedulers send the first two when there is more to do, a person the third."""
POLL = 1.0
"""Seconds between two looks at the file."""


class StopFlag:
    """Inside its `with` block a signal only sets `request`; a second SIGINT interrupts at once.

    `directory`: where to look for a request in a file; None: nowhere.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.request: StopRequest | None = None
        self._directory, self._looked = directory, 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in THEN}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def look(self) -> StopRequest | None:
        """What was asked so far, by signal or file."""
        if self.request is None and self._directory and time.monotonic() - self._looked >= POLL:
            self._looked = time.monotonic()
            self.request = read_stop(self._directory)
        return self.request

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number)
        if name == signal.SIGINT and self.request and self.request.why == name.name:
            raise KeyboardInterrupt
        if self.request is None or THEN[name] == "end":
            self.request = StopRequest(name.name, THEN[name], time.time())
