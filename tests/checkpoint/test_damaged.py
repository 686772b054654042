"""A damaged or unwritable checkpoint, in a real run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretrain.checkpoint.files import list_checkpoints
from pretrain.monitoring.jsonl import read_rows
from tests.example import small_run
from tests.processes import finish, start, told, train_processes, train_rows


def test_the_newest_whole_checkpoint_is_used_and_the_others_named(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path, checkpoint={"every": "5 steps"})
    whole = train_rows(train_processes(run, 2), "loss")
    newest, second, _ = list_checkpoints(tmp_path / "checkpoints")
    next((newest / "engine").glob("*optim_states.pt")).write_bytes(b"cut short")
    (second / "rng-00001.pt").unlink()
    rows = train_processes(run, 2)
    assert train_rows(rows, "loss") == whole
    output = told(run)
    assert "checkpoint step-00000020 is damaged and passed over" in output
    assert "checkpoint step-00000015 is damaged and passed over" in output
    assert "going on from" in output and "step-00000010" in output


def test_a_pickle_that_would_run_code_is_not_run(corpus: Path, tmp_path: Path) -> None:
    """Even with the right checksum: only tensors and plain data are read."""
    import pickle

    from pretrain.checkpoint.tensors import load_tensors

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "owned",)  # type: ignore[return-value]

    import torch

    torch.save({"module": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(pickle.UnpicklingError):
        load_tensors(tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for one checkpoint of the run below and not for two."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=900k", "none", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"only root can make a small file system: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_leaves_earlier_checkpoints_whole(corpus: Path, tmp_path: Path, small_disk: Path) -> None:
    """A save in the middle fails loudly and training goes on; at the end it is an error. Both ranks end, none hangs."""
    run = small_run(corpus, tmp_path / "run", checkpoint={"every": "8 steps", "keep_last": 1})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(small_disk)
    assert finish(start(run, 2)) == [1, 1]
    output = told(run)
    assert "CHECKPOINT FAILED, training goes on: step-00000016 was not saved: [Errno 28] No space left" in output
    assert "step-00000020 was not saved: [Errno 28] No space left" in output
    assert [path.name for path in list_checkpoints(small_disk)] == ["step-00000008"]
    assert not list(small_disk.glob("*.tmp"))
    assert train_rows(list(read_rows(tmp_path / "run" / "metrics.jsonl")), "step") == list(range(1, 21))
    filler = shutil.disk_usage(small_disk)
    assert filler.free > 0
