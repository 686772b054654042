"""Room for the next checkpoint, without ever giving up the only whole one."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from pretrain.checkpoint.files import commit, list_checkpoints, name_of, record
from pretrain.checkpoint.space import make_room
from pretrain.checkpoint.state import TrainState
from pretrain.config.checkpoint import Checkpoint

SIZE, DISK = 10_000, 45_000


def state(step: int) -> TrainState:
    return TrainState("id", step, step * 4, step * 1000, "", {}, "", "", "", "", {})


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk of 45,000 bytes, of which only files called weights.pt take room."""

    def usage(path: Path) -> Any:
        used = sum(file.stat().st_size for file in tmp_path.rglob("weights.pt"))
        return namedtuple("usage", "total used free")(DISK, used, DISK - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return tmp_path


def fill(directory: Path, *steps: int) -> None:
    for step in steps:
        temporary = directory / (name_of(step) + ".tmp")
        temporary.mkdir()
        (temporary / "state.json").write_bytes(state(step).encode())
        (temporary / "weights.pt").write_bytes(bytes(SIZE))
        commit(temporary, [record(temporary / name, temporary) for name in ("state.json", "weights.pt")])


def steps_left(directory: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in list_checkpoints(directory))


@pytest.mark.parametrize(
    ("config", "present", "needed", "left"),
    [
        ({"keep_last": 3}, [10, 20, 30], 15_000, [10, 20, 30]),  # there is room
        ({"keep_last": 3}, [10, 20, 30], 15_001, [20, 30]),  # 10 goes anyway when 40 is there
        ({"keep_last": 1}, [10, 20, 30], 15_001, [20, 30]),  # the oldest first, no more than needed
        ({"keep_last": 1}, [10, 20, 30], 25_001, [30]),
        ({"keep_last": 1, "keep_every": "10 steps"}, [10, 20], 25_000, [10, 20]),
    ],
)
def test_room_is_made_from_what_would_go(
    disk: Path, config: dict[str, Any], present: list[int], needed: int, left: list[int]
) -> None:
    fill(disk, *present)
    make_room(disk, Checkpoint.parse(config), state(40), needed)
    assert steps_left(disk) == left


@pytest.mark.parametrize(
    ("config", "present", "needed", "left"),
    [
        ({"keep_last": 1}, [30], 35_001, [30]),  # the only one
        ({"keep_last": 3}, [20, 30], 25_001, [20, 30]),  # both are to be kept
        ({"keep_last": 1, "keep_every": "10 steps"}, [10, 20, 30], 15_001, [10, 20, 30]),
    ],
)
def test_else_the_error_says_what_is_needed_and_there(
    disk: Path, config: dict[str, Any], present: list[int], needed: int, left: list[int]
) -> None:
    fill(disk, *present)
    free = DISK - SIZE * len(present)
    with pytest.raises(OSError, match=f"it needs {needed:,} bytes, .* has {free:,} free"):
        make_room(disk, Checkpoint.parse(config), state(40), needed)
    assert steps_left(disk) == left


def test_a_damaged_newest_does_not_count_as_the_whole_one(disk: Path) -> None:
    fill(disk, 10, 20, 30)
    (disk / name_of(30) / "weights.pt").write_bytes(b"cut short")
    make_room(disk, Checkpoint.parse({"keep_last": 1}), state(40), 30_000)
    assert steps_left(disk) == [20, 30]


def test_after_a_write_that_found_no_room_everything_that_may_go_goes(disk: Path) -> None:
    """A quota is not seen in the free bytes of the disk."""
    fill(disk, 10, 20, 30)
    make_room(disk, Checkpoint.parse({"keep_last": 1}), state(40), 1, anyway=True)
    assert steps_left(disk) == [30]
