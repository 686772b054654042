"""Progress of a long command: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0


class Reporter:
    """Says what happens, on standard error."""

    def __init__(self, quiet: bool = False) -> None:
        self._stream: TextIO | None = None if quiet else sys.stderr

    def say(self, line: str) -> None:
        """One line."""
        if self._stream is not None:
            print(line, file=self._stream, flush=True)

    def follow(self, what: str, items: Iterable[Item], total: int, note: Callable[[Item], str]) -> Iterator[Item]:
        """Pass items through and show how many of `total` have come, with `note` of the last."""
        if self._stream is not None and self._stream.isatty():
            yield from self._bar(what, items, total, note)
        else:
            yield from self._lines(what, items, total, note)

    def _bar(self, what: str, items: Iterable[Item], total: int, note: Callable[[Item], str]) -> Iterator[Item]:
        columns = (
            TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        with Progress(*columns, console=Console(file=self._stream)) as progress:
            task = progress.add_task(what, total=total, note="")
            for item in items:
                progress.update(task, advance=1, note=note(item))
                yield item

    def _lines(self, what: str, items: Iterable[Item], total: int, note: Callable[[Item], str]) -> Iterator[Item]:
        last, count = time.monotonic(), 0
        for count, item in enumerate(items, 1):
            if count == total or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
                self.say(f"{what}: {count} of {total}, {note(item)}")
                last = time.monotonic()
            yield item
