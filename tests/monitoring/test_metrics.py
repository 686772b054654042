"""One stream into all sinks."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.monitoring.jsonl import JsonLines, read_rows
from pretrain.monitoring.metrics import Kind, Metrics, Row


class Full:
    """A sink on a full disk."""

    def write(self, kind: Kind, row: Row) -> None:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")

    close = flush


def test_a_sink_that_cannot_write_stops_neither_the_others_nor_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = Metrics([Full()])
    metrics.add(JsonLines(tmp_path / "m.jsonl"))
    for step in (1, 2):
        metrics.write("train", {"step": step})
    metrics.flush()
    metrics.close()
    assert [row["step"] for row in read_rows(tmp_path / "m.jsonl")] == [1, 2]
    assert capsys.readouterr().err.count("Full cannot write, rows may be missing: [Errno 28] No space left") == 1
