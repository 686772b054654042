"""One stream of metrics, written by one rank into any number of sinks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

Kind = Literal["train", "validation", "baseline", "event"]
Row = Mapping[str, float | int | str]
"""Flat: always `step` and `tokens`; a name with a slash is per source, as in `loss/wiki`."""


class Sink(Protocol):
    """Somewhere metrics go. To add one: write this class, and a line in sinks.py."""

    def write(self, kind: Kind, row: Row) -> None:
        """Take one row."""

    def flush(self) -> None:
        """Everything taken so far is out of this process's hands; called at each checkpoint."""

    def close(self) -> None:
        """The run ends here."""


class Metrics:
    """Hands every row to all sinks. Ranks that do not write have no sinks."""

    def __init__(self, sinks: Iterable[Sink] = ()) -> None:
        self._sinks = list(sinks)

    def write(self, kind: Kind, row: Row) -> None:
        """Hand on one row."""
        for sink in self._sinks:
            sink.write(kind, row)

    def event(self, step: int, tokens: int, message: str) -> None:
        """Something a person should read: a resume, a damaged checkpoint, a failed save."""
        self.write("event", {"step": step, "tokens": tokens, "message": message})

    def flush(self) -> None:
        """Flush all sinks."""
        for sink in self._sinks:
            sink.flush()

    def close(self) -> None:
        """Close all sinks, each whatever happens in the others."""
        for sink in self._sinks:
            sink.close()
        self._sinks = []
