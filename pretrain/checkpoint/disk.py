"""A file written past the page cache and hashed on the way.

Copying gigabytes into the page cache costs more processor time than hashing them, and drives the data of the run out of
it. So pieces of the file go from aligned memory straight to the disk (O_DIRECT), while another thread hashes them. File
systems that cannot do that (tmpfs, some network ones) get ordinary writes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

PIECE = 16 << 20
"""Bytes that are handed to the disk at once."""


class AbandonedError(Exception):
    """Nobody wants the file any more."""


class Written(NamedTuple):
    """What is on disk."""

    bytes: int
    sha256: str


class HashedFile:
    """A new file. Every step lets go of Python's lock, so that training goes on beside it.

    Bytes are copied into one piece while the other is being hashed and written. After `abandon` is set, writing raises
    AbandonedError.
    """

    def __init__(self, path: Path, abandon: threading.Event) -> None:
        self._file = _open(path)
        self._abandon = abandon
        self._pieces = [mmap.mmap(-1, PIECE), mmap.mmap(-1, PIECE)]
        self._pending: list[list[Future[Any]]] = [[], []]
        self._filled = self._bytes = 0
        self._digest = hashlib.sha256()
        self._hasher, self._writer = ThreadPoolExecutor(1, "hash"), ThreadPoolExecutor(1, "write")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hasher.shutdown(cancel_futures=True)
        self._writer.shutdown(cancel_futures=True)
        os.close(self._file)

    def write(self, data: memoryview | bytes) -> int:
        """Append bytes; `data` may change after the call. Raises OSError, for these bytes or earlier ones."""
        source, start = np.frombuffer(data, np.uint8), 0
        while start < len(source):
            count = min(PIECE - self._filled, len(source) - start)
            target = np.frombuffer(self._pieces[0], np.uint8, count, self._filled)
            np.copyto(target, source[start : start + count])
            start, self._filled = start + count, self._filled + count
            if self._filled == PIECE:
                self._hand_on()
        return len(source)

    def end(self) -> Written:
        """Wait until all is on disk."""
        if self._filled:
            self._hand_on()
        for pending in self._pending:
            _wait(pending)
        os.fsync(self._file)
        return Written(self._bytes, self._digest.hexdigest())

    def _hand_on(self) -> None:
        """Hash and write the first piece; go on with the other one, when it is free."""
        if self._abandon.is_set():
            raise AbandonedError
        data = memoryview(self._pieces[0])[: self._filled]
        self._pending[0] = [self._hasher.submit(self._digest.update, data), self._writer.submit(self._write_all, data)]
        self._bytes, self._filled = self._bytes + self._filled, 0
        self._pieces.reverse()
        self._pending.reverse()
        _wait(self._pending[0])

    def _write_all(self, data: memoryview) -> None:
        if len(data) % mmap.PAGESIZE:
            _write_through_cache(self._file)  # the last piece
        while data:
            try:
                data = data[os.write(self._file, data) :]
            except OSError as error:
                if error.errno != errno.EINVAL or not _write_through_cache(self._file):
                    raise


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        return os.open(path, flags | os.O_DIRECT, 0o666)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.open(path, flags, 0o666)


def _write_through_cache(file: int) -> bool:
    """Take O_DIRECT from an open file; whether it had it."""
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    fcntl.fcntl(file, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    return bool(flags & os.O_DIRECT)


def _wait(pending: list[Future[Any]]) -> None:
    for future in pending:
        future.result()
    pending.clear()
