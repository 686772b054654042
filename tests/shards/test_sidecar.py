"""The sidecar says where each document came from."""

from pathlib import Path

import pyarrow as pa
import pytest

from pretrain.config.errors import ConfigError
from pretrain.shards.sidecar import SCHEMA, SidecarWriter, read_origin


def rows(start: int, count: int) -> pa.Table:
    numbers = list(range(start, start + count))
    columns = {
        "source": ["web"] * count,
        "file": ["a.jsonl"] * count,
        "record": numbers,
        "id": [None if number % 2 else f"d{number}" for number in numbers],
        "bytes": [10 * number for number in numbers],
    }
    return pa.Table.from_pydict(columns, SCHEMA)


def test_reads_one_document(tmp_path: Path) -> None:
    with SidecarWriter(tmp_path / "x") as writer:
        writer.add(rows(1, 3))
        writer.add(rows(4, 2))
    assert list(writer.files) == [".documents.parquet"]
    assert read_origin(tmp_path / "x", 0) == {"source": "web", "file": "a.jsonl", "record": 1, "id": None, "bytes": 10}
    assert read_origin(tmp_path / "x", 3) == {"source": "web", "file": "a.jsonl", "record": 4, "id": "d4", "bytes": 40}
    for outside in (5, -1):
        with pytest.raises(IndexError):
            read_origin(tmp_path / "x", outside)


def test_empty(tmp_path: Path) -> None:
    with SidecarWriter(tmp_path / "x"):
        pass
    with pytest.raises(IndexError):
        read_origin(tmp_path / "x", 0)


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), SidecarWriter(tmp_path / "x") as writer:
        writer.add(rows(1, 3))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_damaged_or_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_origin(tmp_path / "x", 0)
    (tmp_path / "x.documents.parquet").write_bytes(b"not parquet")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_origin(tmp_path / "x", 0)
