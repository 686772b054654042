"""Parquet files: a row a document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.config.corpus import CorpusSource
from pretrain.config.errors import ConfigError, nearest
from pretrain.corpus.document import Broken, Document, Record, Unit
from pretrain.corpus.sources.files import units
from pretrain.corpus.sources.remote import is_remote, open_remote

__all__ = ["read", "units"]

ROWS = 1024
"""Read at a time; rows of long documents make these 10 MB and more."""


def read(source: CorpusSource, unit: Unit) -> Iterator[Record]:
    """The rows of one file, numbered from 1. Raises ConfigError when it is damaged or has no such column."""
    path = unit.items[0]
    try:
        # Without pre_buffer arrow asks for a column of a row group at a time.
        opened = open_remote(path, sequential=False) if is_remote(path) else nullcontext(path)
        with opened as raw, pq.ParquetFile(raw) as file:
            columns = _columns(source, path, file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(ROWS, columns=columns):
                yield from _records(source, path, number, batch)
                number += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        rule = f"cannot be read as Parquet ({error})"
        raise ConfigError.of("sources.paths", path, rule, "fetch the file again") from None


def _columns(source: CorpusSource, path: str, known: list[str]) -> list[str]:
    wanted = [("text_field", source.text_field)] + ([("id_field", source.id_field)] if source.id_field else [])
    for field, column in wanted:
        if column not in known:
            guess = nearest(column, known)
            fix = f"did you mean {guess!r}?" if guess else f"its columns: {', '.join(known)}"
            raise ConfigError.of(f"sources.{field}", column, f"must be a column of {path}", fix)
    return [column for _, column in wanted]


def _records(source: CorpusSource, path: str, before: int, batch: pa.RecordBatch) -> Iterator[Record]:
    texts = batch.column(source.text_field)
    ids = batch.column(source.id_field) if source.id_field else None
    for row in range(batch.num_rows):
        own = ids[row].as_py() if ids is not None else None
        yield _record(source, path, before + row + 1, texts[row], None if own is None else str(own))


def _record(source: CorpusSource, path: str, number: int, cell: pa.Scalar, own: str | None) -> Record:
    try:
        text = cell.as_py()
    except UnicodeDecodeError:
        return Broken(path, number, f"column {source.text_field!r} is not UTF-8", len(cell.as_buffer()))
    if not isinstance(text, str):
        return Broken(path, number, f"column {source.text_field!r} holds {type(text).__name__}, not text")
    return Document(text, path, number, own)
