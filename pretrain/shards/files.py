"""Files that are whole or absent: written beside, synced, renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretrain.config.errors import ConfigError
from pretrain.shards.remote import opened

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EFBIG: "the file is too large"}


class AtomicFile:
    """A binary file for writing that appears under its name only at `commit`, synced to disk.

    Counts bytes and their SHA-256 on the way, so nothing is read back. A full disk raises ConfigError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self._temporary = path.with_name(path.name + ".tmp")
        self._digest = hashlib.sha256()
        with clear_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._temporary, "wb", buffering=1 << 20)

    def write(self, data: Any) -> int:
        """Append bytes (anything with the buffer interface) and return how many."""
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        with clear_errors(self.path):
            self._file.write(view)
        self._digest.update(view)
        self.bytes += len(view)
        return len(view)

    @property
    def sha256(self) -> str:
        """Hex digits of what was written so far."""
        return self._digest.hexdigest()

    def commit(self) -> dict[str, Any]:
        """Sync, rename into place, and return {"bytes", "sha256"} as a manifest holds them."""
        with clear_errors(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self.path)
            sync_directory(self.path.parent)
        return {"bytes": self.bytes, "sha256": self.sha256}

    def discard(self) -> None:
        """Leave nothing behind. Does nothing after `commit`."""
        with contextlib.suppress(OSError):  # closing flushes, which fails again on a full disk
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    # What pyarrow asks of a file that it writes to.
    @property
    def closed(self) -> bool:
        """Whether the file was committed or discarded."""
        return self._file.closed

    def flush(self) -> None:
        """Hand buffered bytes to the system."""
        with clear_errors(self.path):
            self._file.flush()

    def writable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """Bytes written."""
        return self.bytes

    def close(self) -> None:
        """Does nothing: pyarrow closes what it writes to, we commit or discard."""


def write_atomically(path: Path, data: bytes) -> dict[str, Any]:
    """A small file, whole or absent. Returns {"bytes", "sha256"}."""
    file = AtomicFile(path)
    try:
        file.write(data)
        return file.commit()
    finally:
        file.discard()


def write_where_asked(path: Path, data: bytes) -> None:
    """`write_atomically` to where a person wants it. Raises ConfigError when no file can be there."""
    try:
        write_atomically(path, data)
    except OSError as error:
        raise ConfigError.of("file", str(path), f"cannot be written ({error.strerror})", "give another path") from None


def sync_directory(directory: Path) -> None:
    """Make renames in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Hex digits of a file's checksum."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, met while writing `path`, into a ConfigError."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        fix = "free space (or give another directory) and run the same command again: finished shards are kept"
        raise ConfigError.of(
            "directory", str(path.parent), f"{FULL[error.errno]}: {path.name} needs room", fix
        ) from None
