"""metrics.jsonl: one JSON object a line; the record that everything else can be made from again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from pretrain.monitoring.metrics import Kind, Row


class JsonLines:
    """Appends to a file; each row is with the operating system before the next step, so a kill loses none.

    After a failed write (a full disk) the rest of the row is written before the next one: no line is torn.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab")

    def write(self, kind: Kind, row: Row) -> None:
        """Append {"kind": kind, **row}."""
        self._file.write(orjson.dumps({"kind": kind, **row}) + b"\n")
        self._file.flush()

    def flush(self) -> None:
        """Wait until the file is on disk."""
        os.fsync(self._file.fileno())

    def rewind(self, step: int) -> None:
        """Drop the rows after `step`."""
        self._file.close()
        cut_back(self._path, step)
        self._file = self._path.open("ab")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_rows(path: Path, broken: Callable[[int, str], None] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a metrics.jsonl up to the first unfinished line: cut short by a kill, or being written just now.

    A line that is no JSON raises JSONDecodeError; with `broken` that is told its number and what is wrong instead.
    """
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # reading on would give the rest of this line, once it is written, as a line of its own
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if broken is None:
                    raise
                broken(number, str(error))
                continue
            yield row


def cut_back(path: Path, step: int) -> None:
    """Drop the rows after `step`, all of them at step 0: the run goes on from there and writes them again.

    Lines that are no JSON (a failing disk) do not keep it from that: they are left out, and the file with them is kept.
    """
    broken: list[int] = []
    rows = read_rows(path, lambda number, _: broken.append(number))
    kept = [orjson.dumps(row) for row in rows if step and row["step"] <= step]
    if broken:
        damaged = shutil.copyfile(path, path.with_suffix(".jsonl.damaged"))
        print(f"{path}: line {broken[0]} and {len(broken) - 1} more are no JSON: left out, {damaged.name} has them")
    temporary = path.with_suffix(".jsonl.tmp")
    with open(temporary, "wb") as file:
        file.writelines(line + b"\n" for line in kept)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
