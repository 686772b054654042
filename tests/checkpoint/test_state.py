"""state.json: formats of before are read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import orjson
import pytest

from pretrain.checkpoint.state import FORMAT_VERSION, TrainState, read_state
from pretrain.config.errors import ConfigError

STATE = TrainState("id", 5, 20, 320, "ab", {}, "p", "m", "t", "o", {"pipe": 1}, {"web": 300}, {"left_out": 2})


def written(folder: Path, version: int, *without: str) -> Path:
    plain = {name: value for name, value in asdict(STATE).items() if name not in without}
    (folder / "state.json").write_bytes(orjson.dumps({**plain, "format_version": version}))
    return folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(STATE.encode())
    assert read_state(tmp_path) == STATE and STATE.updates == 3


def test_formats_of_before(tmp_path: Path) -> None:
    third = read_state(written(tmp_path, 3, "served"))
    assert (third.served, third.spikes, third.format_version) == ({}, {"left_out": 2}, FORMAT_VERSION)
    second = read_state(written(tmp_path, 2, "served", "spikes"))
    assert (second.served, second.spikes, second.step) == ({}, {}, 5)


@pytest.mark.parametrize(("version", "without"), [(1, ()), (99, ()), (FORMAT_VERSION, ("served",))])
def test_others_are_refused(tmp_path: Path, version: int, without: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"has format {version}, this version reads {FORMAT_VERSION}"):
        read_state(written(tmp_path, version, *without))


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be a checkpoint"):
        read_state(tmp_path)
