"""A disk that is full when a run starts: a failure, which is tried again, and no bad input, which is not."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pretrain.config.errors import RunError
from pretrain.training.directory import RunDirectory
from tests.config.example import make_run
from tests.example import small_run
from tests.processes import finish, start, told


def fill_disk(directory: Path) -> None:
    """Nothing more reaches the disk of this process."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    os.fsync = full


def test_every_rank_fails_and_none_refuses(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path)
    assert finish(start(run, 2, before=fill_disk)) == [1, 1]
    for rank in range(2):
        assert f"pretrain: the run directory {tmp_path} cannot be written: the disk is full" in told(run, rank)
        assert "Traceback" not in told(run, rank)


@pytest.mark.parametrize(
    ("number", "why"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the quota is used up")]
)
def test_no_room_for_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, why: str) -> None:
    def mkdir(*args: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(RunError, match=why), RunDirectory(make_run(directory=str(tmp_path / "run"))).locked():
        pass
