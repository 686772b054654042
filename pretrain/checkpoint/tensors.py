"""Files of tensors and plain data, written with the disk's own errors and read without running pickles."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from pretrain.checkpoint.disk import AbandonedError, HashedFile, Written


def save_tensors(value: object, path: Path, abandon: threading.Event | None = None) -> Written:
    """torch.save, waited for until the file is on disk.

    Without the zip format's own CRC-32: torch.load does not look at it, and the SHA-256 of the file says more.
    Raises the OSError of a failed write, such as a full disk, which torch itself would hide, and AbandonedError when
    `abandon` is set meanwhile.
    """
    from torch.utils.serialization import config

    with HashedFile(path, abandon or threading.Event()) as file:
        writer = _Writer(file)
        try:
            with config.patch({"save.compute_crc32": False}):  # type: ignore[attr-defined]  # of this thread alone
                torch.save(value, cast("BinaryIO", writer))
        except Exception as error:
            raise writer.error or error from None
        return file.end()


class _Writer:
    """What torch writes to; remembers why a write failed."""

    def __init__(self, file: HashedFile) -> None:
        self._file = file
        self.error: Exception | None = None

    def write(self, data: memoryview) -> int:
        try:
            return self._file.write(data)
        except (OSError, AbandonedError) as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Nothing: HashedFile.end does it."""


def load_tensors(path: Path, safe: Sequence[type] = (), mapped: bool = False) -> Any:
    """torch.load on the CPU of tensors, plain data and instances of `safe`; anything else is refused, not run.

    `mapped`: tensors stay in the file until they are used.
    """
    with torch.serialization.safe_globals(list(safe)):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
