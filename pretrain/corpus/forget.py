"""Take documents out of the files that show people what happened to a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.corpus.across.fuzzy import write_clusters
from pretrain.corpus.workspace import CONTAMINATION, DROPPED, DUPLICATES, STATISTICS
from pretrain.shards.files import write_atomically


def forget(folder: Path, names: Set[str]) -> None:
    """Leave out every row of a document whose id, or FILE:RECORD, is in `names`. Counts stay what they were."""
    for path in (folder / DROPPED, folder / CONTAMINATION):
        if path.is_file():
            rows = _without(map(orjson.loads, path.read_bytes().splitlines()), names)
            write_atomically(path, b"".join(orjson.dumps(row) + b"\n" for row in rows))
    if (folder / STATISTICS).is_file():
        plain = orjson.loads((folder / STATISTICS).read_bytes())
        for source in plain.values():
            source["kept"] = _without(source["kept"], names)
        write_atomically(folder / STATISTICS, orjson.dumps(plain, option=orjson.OPT_INDENT_2))
    if (folder / DUPLICATES).is_file():
        write_clusters(folder / DUPLICATES, _rows_without(pq.read_table(folder / DUPLICATES), names))


def _without(rows: Iterable[Mapping[str, Any]], names: Set[str]) -> list[Mapping[str, Any]]:
    return [row for row in rows if names.isdisjoint({row["id"], f"{row['file']}:{row['record']}"})]


def _rows_without(table: pa.Table, names: Set[str]) -> pa.Table:
    places = zip(*(table[column].to_pylist() for column in ("id", "file", "record")), strict=True)
    return table.filter(pa.array([names.isdisjoint({own, f"{file}:{record}"}) for own, file, record in places]))
