"""metrics.jsonl."""

from contextlib import nullcontext
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


def test_a_broken_line_does_not_keep_a_run_from_going_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, text = tmp_path / "m.jsonl", b'{"kind":"train","step":1}\n\0\0\0\n{"kind":"train","step":2}\n'
    path.write_bytes(text)
    cut_back(path, 2)
    assert path.read_bytes() == b'{"kind":"train","step":1}\n{"kind":"train","step":2}\n'
    assert (tmp_path / "m.jsonl.damaged").read_bytes() == text
    assert "line 2 and 0 more are no JSON: left out, m.jsonl.damaged has them" in capsys.readouterr().out


def test_a_run_without_a_file_starts_one(tmp_path: Path) -> None:
    cut_back(tmp_path / "m.jsonl", 0)
    assert list(read_rows(tmp_path / "m.jsonl")) == []


def test_a_row_being_written_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its second half, should it arrive while the file is read, is not taken for a row."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"")
    arriving = [b'{"step": 1}\n', b'{"st', b'ep": 2}\n']
    monkeypatch.setattr("pretrain.monitoring.jsonl.open", lambda *_: nullcontext(arriving), raising=False)
    assert list(read_rows(path)) == [{"step": 1}]
