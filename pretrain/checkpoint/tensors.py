"""Files of tensors and plain data, written with the disk's own errors and read without running pickles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch


def save_tensors(value: object, path: Path) -> None:
    """torch.save. Raises the OSError of a failed write, such as a full disk, which torch itself would hide."""
    with open(path, "wb") as file:
        writer = _Writer(file)
        try:
            torch.save(value, cast("BinaryIO", writer))
        except RuntimeError as error:
            raise writer.error or error from error


class _Writer:
    """A file that remembers why a write failed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def load_tensors(path: Path, safe: Sequence[type] = (), mapped: bool = False) -> Any:
    """torch.load on the CPU of tensors, plain data and instances of `safe`; anything else is refused, not run.

    `mapped`: tensors stay in the file until they are used.
    """
    with torch.serialization.safe_globals(list(safe)):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
