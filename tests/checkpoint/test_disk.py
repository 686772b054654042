"""What is written is what was given, by size and SHA-256, whatever the file system can do."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from pretrain.checkpoint import disk
from pretrain.checkpoint.disk import PIECE, AbandonedError, HashedFile

PATTERN = bytes(range(251))


@pytest.mark.parametrize(
    "size", [0, 1, 4096, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 4096 * 3, 3 * PIECE + 7]
)
@pytest.mark.parametrize("step", [PIECE // 3 + 11, 5 * PIECE])
def test_bytes_and_digest(tmp_path: Path, size: int, step: int) -> None:
    data = (PATTERN * (size // len(PATTERN) + 1))[:size]
    with HashedFile(tmp_path / "file", threading.Event()) as file:
        for start in range(0, size, step):
            file.write(memoryview(data)[start : start + step])
        written = file.end()
    assert written == (size, hashlib.sha256(data).hexdigest())
    assert (tmp_path / "file").read_bytes() == data


def test_a_file_system_without_direct_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused at the opening, or at the first write."""
    whole_open, whole_write, refused = os.open, os.write, []

    def no_open(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            refused.append("open")
            raise OSError(errno.EINVAL, "Invalid argument")
        return whole_open(path, flags, mode)

    def no_write(file: int, data: memoryview) -> int:
        if disk.fcntl.fcntl(file, disk.fcntl.F_GETFL) & os.O_DIRECT:
            refused.append("write")
            raise OSError(errno.EINVAL, "Invalid argument")
        return whole_write(file, data)

    for name, broken in (("open", no_open), ("write", no_write)):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, broken)
            with HashedFile(tmp_path / name, threading.Event()) as file:
                file.write(PATTERN * 100_000)
                file.end()
        assert (tmp_path / name).read_bytes() == PATTERN * 100_000
    assert refused == ["open", "write"]


def test_an_error_of_the_disk_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with HashedFile(tmp_path / "file", threading.Event()) as file, pytest.raises(OSError, match="No space left"):
        file.write(bytes(3 * PIECE))


def test_an_abandoned_file_ends_early(tmp_path: Path) -> None:
    abandon = threading.Event()
    with HashedFile(tmp_path / "file", abandon) as file, pytest.raises(AbandonedError):
        file.write(bytes(PIECE))
        abandon.set()
        file.write(bytes(PIECE))
