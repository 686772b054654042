"""One action in a thread of its own, whose end is asked for rather than waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

GRACE = 30.0
"""Seconds an abandoned action has to notice. After that it ends with the process: it is in the middle of one write."""


class Background(Generic[T]):
    """Runs `action`, in a thread or, with `now`, at once; what it raises is kept for whoever asks.

    `action` is given an event that is set when nobody wants its result any more.
    """

    def __init__(self, action: Callable[[threading.Event], T], now: bool = False) -> None:
        self.result: T | None = None
        self.error: Exception | None = None
        self.seconds = 0.0
        self._action, self._abandon = action, threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        if now:
            self._run()
        else:
            self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()

    def wait(self) -> None:
        """Until it has ended."""
        if self.busy:
            self._thread.join()

    def abandon(self) -> None:
        """Its result is not wanted: it ends soon, and is waited for."""
        self._abandon.set()
        if self.busy:
            self._thread.join(GRACE)

    def _run(self) -> None:
        started = time.perf_counter()
        try:
            self.result = self._action(self._abandon)
        except Exception as error:
            self.error = error
        self.seconds = time.perf_counter() - started
        del self._action  # and with it all that it refers to
