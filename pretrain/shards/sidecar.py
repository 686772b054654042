"""Where each document of a shard came from: PREFIX.documents.parquet, one row a document in the order of the shard.

Parquet because the columns repeat (a file name stands in millions of rows and costs bits as a dictionary code), one row
group can be read without the others, and every data tool opens it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pretrain.config.errors import ConfigError
from pretrain.shards.files import AtomicFile
from pretrain.shards.remote import Remote, located, opened

SUFFIX = ".documents.parquet"
ROW_GROUP = 100_000
SCHEMA = pa.schema(
    [
        ("source", pa.string()),  # name in the recipe
        ("file", pa.string()),  # path, or name of the data set
        ("record", pa.int64()),  # number in the file, from 1; a line for JSONL
        ("id", pa.string()),  # the document's own, when it has one
        ("bytes", pa.int64()),  # UTF-8 bytes of text
    ]
)
FIRST = "first_token"
"""A further column where documents are packed: the token of the document with which the piece of this row begins."""


class SidecarWriter:
    """Streams rows into PREFIX.documents.parquet, which appears whole at the end of the `with` block or not at all.

    `packed`: rows have a column FIRST too.
    """

    def __init__(self, prefix: Path, packed: bool = False) -> None:
        self._file = AtomicFile(prefix.with_name(prefix.name + SUFFIX))
        self._schema = SCHEMA.append(pa.field(FIRST, pa.int64())) if packed else SCHEMA
        self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd", use_dictionary=["source", "file"])
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, rows: pa.Table) -> None:
        """Append rows with the columns of the schema, in any order."""
        self._writer.write_table(rows.select(self._schema.names).cast(self._schema), row_group_size=ROW_GROUP)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._writer.close()
                self.files = {SUFFIX: self._file.commit()}
        finally:
            with contextlib.suppress(ConfigError):  # else pyarrow closes it later, when nobody can catch a full disk
                self._writer.close()
            self._file.discard()


def read_origin(prefix: str | Path, document: int) -> dict[str, Any]:
    """Source, file, record, id and bytes of one document of a shard; reads one row group.

    Raises ConfigError when the sidecar is missing or damaged, IndexError when there is no such document.
    """
    with _opened(prefix) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if 0 <= document < rows:
                row: dict[str, Any] = file.read_row_group(group).slice(document, 1).to_pylist()[0]
                return row
            document -= rows
    raise IndexError(document)


def read_table(prefix: str | Path) -> pa.Table:
    """All rows of a shard's sidecar. Raises ConfigError when it is missing or damaged."""
    with _opened(prefix) as file:
        return file.read()


def find_rows(prefix: str | Path, wanted: Collection[str]) -> Iterator[int]:
    """The documents of a shard whose id, or FILE:RECORD, is in `wanted`; reads three columns of the whole sidecar.

    Raises ConfigError when the sidecar is missing or damaged.
    """
    names, first = pa.array(list(wanted), pa.string()), 0
    with _opened(prefix) as file:
        for batch in file.iter_batches(ROW_GROUP, columns=["id", "file", "record"]):
            places = pc.binary_join_element_wise(batch["file"], batch["record"].cast(pa.string()), ":")
            found = pc.or_(pc.is_in(batch["id"], names), pc.is_in(places, names))
            yield from (first + int(row) for row in np.flatnonzero(found.to_numpy(zero_copy_only=False)))
            first += len(batch)


def _opened(prefix: str | Path) -> pq.ParquetFile:
    path = located(f"{prefix}{SUFFIX}")
    try:
        return pq.ParquetFile(opened(path) if isinstance(path, Remote) else path)
    except (OSError, pa.ArrowInvalid) as error:
        fix = "restore the file, or run `pretrain corpus prepare` again"
        raise ConfigError.of("sidecar", str(path), f"cannot be read ({error})", fix) from None
