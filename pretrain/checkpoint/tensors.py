"""Files of tensors and plain data: hashed while they are written, with the disk's own errors; read without pickles."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import torch

PIECE = 16 << 20
"""Bytes written between two looks at whether anybody still wants the file."""


class AbandonedError(Exception):
    """Nobody wants the file any more."""


class Written(NamedTuple):
    """What is on disk."""

    bytes: int
    sha256: str


def save_tensors(value: object, path: Path, abandon: threading.Event | None = None) -> Written:
    """torch.save, hashed on the way and waited for until it is on disk.

    Without the zip format's own CRC-32: torch.load does not look at it, and the SHA-256 of the file says more.
    Raises the OSError of a failed write, such as a full disk, which torch itself would hide, and AbandonedError when
    `abandon` is set meanwhile.
    """
    from torch.utils.serialization import config

    with ThreadPoolExecutor(1, "sha256") as hasher, open(path, "wb", buffering=0) as file:
        writer = _Writer(file, hasher, abandon or threading.Event())
        try:
            with config.patch({"save.compute_crc32": False}):  # type: ignore[attr-defined]  # of this thread alone
                torch.save(value, cast("BinaryIO", writer))
            return writer.end()
        except Exception as error:
            raise writer.error or error from None


class _Writer:
    """A file that hashes what it is given on another core while it is written, and remembers why a write failed.

    Both let go of Python's lock, so training goes on beside them.
    """

    def __init__(self, file: Any, hasher: ThreadPoolExecutor, abandon: threading.Event) -> None:
        self._file, self._hasher, self._abandon = file, hasher, abandon
        self._digest, self._bytes = hashlib.sha256(), 0
        self._small = bytearray()
        self.error: Exception | None = None

    def write(self, data: memoryview) -> int:
        """Take bytes; `data` is only valid during the call."""
        try:
            if len(data) < PIECE:
                self._small += data
            if len(data) >= PIECE or len(self._small) >= PIECE:
                self._hand_on()
            if len(data) >= PIECE:
                self._write_hashed(data)
        except (OSError, AbandonedError) as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing: `end` does it."""

    def end(self) -> Written:
        """Wait until all is on disk."""
        self._hand_on()
        os.fsync(self._file.fileno())
        return Written(self._bytes, self._digest.hexdigest())

    def _hand_on(self) -> None:
        small, self._small = self._small, bytearray()
        self._write_hashed(memoryview(small))

    def _write_hashed(self, data: memoryview) -> None:
        hashed = self._hasher.submit(self._digest.update, data)
        try:
            for start in range(0, len(data), PIECE):
                if self._abandon.is_set():
                    raise AbandonedError
                self._write_all(data[start : start + PIECE])
        finally:
            hashed.result()
        self._bytes += len(data)

    def _write_all(self, data: memoryview) -> None:
        while len(data):
            data = data[self._file.write(data) :]


def load_tensors(path: Path, safe: Sequence[type] = (), mapped: bool = False) -> Any:
    """torch.load on the CPU of tensors, plain data and instances of `safe`; anything else is refused, not run.

    `mapped`: tensors stay in the file until they are used.
    """
    with torch.serialization.safe_globals(list(safe)):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
