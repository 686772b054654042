"""metrics.jsonl."""

from pathlib import Path

import orjson
import pytest

from pretrain.monitoring.jsonl import JsonLines, cut_back, read_rows


def test_rows_come_back_exactly(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "m.jsonl")
    sink.write("train", {"step": 1, "loss": 0.1 + 0.2, "loss/a": 1e-300})
    sink.close()
    assert list(read_rows(tmp_path / "m.jsonl")) == [{"kind": "train", "step": 1, "loss": 0.1 + 0.2, "loss/a": 1e-300}]


def test_cut_back_to_a_step_drops_later_rows_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"kind":"train","step":1}\n{"kind":"train","step":2}\n{"kind":"train","step":3}\n{"kind":"tra')
    cut_back(path, 2)
    assert path.read_bytes() == b'{"kind":"train","step":1}\n{"kind":"train","step":2}\n'


def test_a_broken_line_in_the_middle_is_not_hidden(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"kind":"train"\n{"kind":"train","step":2}\n')
    with pytest.raises(orjson.JSONDecodeError):
        list(read_rows(path))


def test_a_run_without_a_file_starts_one(tmp_path: Path) -> None:
    cut_back(tmp_path / "m.jsonl", 0)
    assert list(read_rows(tmp_path / "m.jsonl")) == []
