"""One stream of metrics, written by one rank into any number of sinks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol

Kind = Literal["train", "validation", "baseline", "checkpoint", "inside", "planned", "event"]
Row = Mapping[str, float | int | str]
"""Flat: always `step` and `tokens`; a name with a slash is per source, as in `loss/wiki`."""


class Sink(Protocol):
    """Somewhere metrics go. To add one: write this class, and a line in sinks.py."""

    def write(self, kind: Kind, row: Row) -> None:
        """Take one row."""

    def flush(self) -> None:
        """Everything taken so far is out of this process's hands; called at each checkpoint."""

    def rewind(self, step: int) -> None:
        """The run goes on from `step`, before what was written last: rows after it are void."""

    def close(self) -> None:
        """The run ends here."""


class Metrics:
    """Hands every row to all sinks. Ranks that do not write have no sinks.

    A sink that cannot write (a full disk) does not end the training: it is told once on standard error.
    """

    def __init__(self, sinks: Iterable[Sink] = ()) -> None:
        self._sinks = list(sinks)
        self._failed: set[str] = set()

    def add(self, sink: Sink) -> None:
        """Hand rows to this sink too, from now on."""
        self._sinks.append(sink)

    def write(self, kind: Kind, row: Row) -> None:
        """Hand on one row."""
        self._each(lambda sink: sink.write(kind, row))

    def event(self, step: int, tokens: int, message: str, **more: str) -> None:
        """Something a person should read: a resume, a damaged checkpoint, a failed save.

        `what` is given beside it where an alert may be about it (config.alerts.Happening), or for an alert itself.
        """
        self.write("event", {"step": step, "tokens": tokens, "message": message, **more})

    def flush(self) -> None:
        """Flush all sinks."""
        self._each(lambda sink: sink.flush())

    def rewind(self, step: int) -> None:
        """Rows after `step` are void in all sinks."""
        self._each(lambda sink: sink.rewind(step))

    def close(self) -> None:
        """Close all sinks, each whatever happens in the others."""
        self._each(lambda sink: sink.close())
        self._sinks = []

    def _each(self, action: Callable[[Sink], None]) -> None:
        for sink in self._sinks:
            try:
                action(sink)
            except OSError as error:
                if (name := type(sink).__name__) not in self._failed:
                    self._failed.add(name)
                    print(f"metrics: {name} cannot write, rows may be missing: {error}", file=sys.stderr, flush=True)
