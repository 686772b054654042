"""Files are whole or absent, also on a full disk."""

import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pretrain.config.errors import ConfigError
from pretrain.shards.files import AtomicFile, sha256, write_atomically
from pretrain.shards.indexed import IndexedWriter

LIMIT = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in which a file cannot grow over 1 MiB: a tmpfs where we may mount one, else the process's own limit."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.getuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={LIMIT}", "tmpfs", str(folder)], capture_output=True
        ).returncode
    ):
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_appears_only_when_whole(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "x")
    file.write(b"ab")
    file.write(np.array([1, 2], np.uint16))
    assert not (tmp_path / "x").exists()
    assert file.commit() == {"bytes": 6, "sha256": hashlib.sha256(b"ab\x01\x00\x02\x00").hexdigest()}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert sha256(tmp_path / "x") == hashlib.sha256(b"ab\x01\x00\x02\x00").hexdigest()


def test_discarded(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x", b"old")
    file = AtomicFile(tmp_path / "x")
    file.write(b"new")
    file.discard()
    assert (tmp_path / "x").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_full_disk_is_said_and_leaves_nothing(small_disk: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"(the disk is full|the file is too large): x\.bin needs room"),
        IndexedWriter(small_disk / "x", "uint16") as writer,
    ):
        for _ in range(40):
            writer.add(np.zeros(50_000, np.uint32), [50_000])
    assert list(small_disk.iterdir()) == []


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((NotADirectoryError, FileExistsError)):
        AtomicFile(tmp_path / "file" / "x")


def test_importing_the_format_is_light() -> None:
    """Shards are opened on every training process: neither torch nor a tokenizer may come along."""
    code = "import sys, pretrain.shards.indexed; print({'torch', 'tokenizers', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
