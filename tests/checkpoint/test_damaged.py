"""A damaged or unwritable checkpoint, in a real run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from pretrain.checkpoint.files import damage, list_checkpoints
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


def test_a_damaged_file_is_named_whichever_rank_finds_it(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path, checkpoint={"every": "10 steps"})
    train_processes(run, 2)
    newest = list_checkpoints(tmp_path / "checkpoints")[0]
    names = sorted(orjson.loads((newest / "files.json").read_bytes()))
    (newest / names[1]).write_bytes(b"altered")  # rank 1 checks every second file from the second on
    train_processes(run, 2)
    assert f"step-00000020 is damaged and passed over: {names[1]} has 7 bytes" in told(run)


def test_damaged_checkpoints_do_not_count_among_those_to_keep(corpus: Path, tmp_path: Path) -> None:
    """Else the good ones written after them, with lower steps, would be deleted first."""
    run = small_run(corpus, tmp_path, checkpoint={"every": "5 steps", "keep_last": 2})
    train_processes(run, 1)
    newest, second = list_checkpoints(tmp_path / "checkpoints")
    (newest / "state.json").unlink()
    train_processes(run, 1)
    assert list_checkpoints(tmp_path / "checkpoints") == [newest, second]
    assert damage(newest) is None and damage(second) is None
    assert (tmp_path / "checkpoints" / "step-00000020.damaged").is_dir()


def test_when_every_checkpoint_is_damaged_nothing_is_started_over(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path)
    before = train_processes(run, 2)
    (tmp_path / "checkpoints" / "step-00000020" / "state.json").unlink()
    assert finish(start(run, 2)) == [2, 2]
    assert "every checkpoint is damaged" in told(run) and "state.json cannot be read" in told(run)
    assert list(read_rows(tmp_path / "metrics.jsonl")) == before


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
    rows = list(read_rows(tmp_path / "run" / "metrics.jsonl"))
    assert train_rows(rows, "step") == list(range(1, 21))
    assert [row["what"] for row in rows if "what" in row] == ["checkpoint_failed", "ended"]
    filler = shutil.disk_usage(small_disk)
    assert filler.free > 0


def test_saves_that_fail_in_a_row_end_the_run(corpus: Path, tmp_path: Path, small_disk: Path) -> None:
    """Both ranks, with an error that names the disk; what was saved before is whole."""
    run = small_run(
        corpus,
        tmp_path / "run",
        checkpoint={"every": "4 steps", "keep_last": 1, "failures": 2},
        train={"tokens": 10_000},
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(small_disk)
    assert finish(start(run, 2)) == [1, 1]
    output = told(run)
    assert "CHECKPOINT FAILED, training goes on: step-00000008 was not saved: [Errno 28] No space left" in output
    assert (
        f"2 checkpoints in a row could not be saved (checkpoint.failures) on the disk mounted at {small_disk}" in output
    )
    assert "Traceback" not in output
    (left,) = list_checkpoints(small_disk)
    assert left.name == "step-00000004" and damage(left) is None
