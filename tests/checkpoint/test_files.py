"""Whole or invisible."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from pretrain.checkpoint.files import clean, commit, damage, list_checkpoints, name_of, record


def write_checkpoint(directory: Path, step: int) -> Path:
    temporary = directory / (name_of(step) + ".tmp")
    (temporary / "engine").mkdir(parents=True)
    (temporary / "state.json").write_text(f"step {step}")
    (temporary / "engine" / "weights.pt").write_bytes(bytes(range(256)))
    files = [temporary / "state.json", temporary / "engine" / "weights.pt"]
    return commit(temporary, [record(file, temporary) for file in files])


def test_commit_makes_it_visible_and_moves_latest(tmp_path: Path) -> None:
    first, second = write_checkpoint(tmp_path, 100), write_checkpoint(tmp_path, 200)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000200", "step-00000100"]
    assert (tmp_path / "latest").read_text() == "step-00000200"
    assert damage(first) is None and damage(second) is None
    assert orjson.loads((first / "files.json").read_bytes())["engine/weights.pt"] == {
        "bytes": 256,
        "sha256": "40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880",  # sha256sum of bytes 0 to 255
    }


def test_an_interrupted_save_is_invisible_and_cleaned(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path, 100)
    (tmp_path / "step-00000200.tmp" / "engine").mkdir(parents=True)
    assert list_checkpoints(tmp_path) == [whole]
    clean(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000100"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "engine/weights.pt has 100 bytes instead of 256"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "engine/weights.pt was altered"),
        (lambda path: path.unlink(), "engine/weights.pt cannot be read: No such file"),
    ],
)
def test_damage_is_named(tmp_path: Path, harm: object, message: str) -> None:
    checkpoint = write_checkpoint(tmp_path, 1)
    harm(checkpoint / "engine" / "weights.pt")  # type: ignore[operator]
    assert message in str(damage(checkpoint))


def test_a_broken_list_of_files_is_damage(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 1)
    (checkpoint / "files.json").write_text("{")
    assert "files.json cannot be read" in str(damage(checkpoint))


def test_ranks_share_the_checking(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 1)
    (checkpoint / "engine" / "weights.pt").unlink()
    assert [damage(checkpoint, rank, 2) is None for rank in range(2)] == [False, True]
