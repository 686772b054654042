"""Texts of plain files, in order: what training a tokenizer outside a corpus needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pretrain.config.corpus import CorpusSource
from pretrain.config.errors import ConfigError
from pretrain.corpus.document import Broken
from pretrain.corpus.sources import find_units, read_unit


def texts_of_files(files: Iterable[str], text_field: str, limit: int) -> Iterator[str]:
    """Texts of JSON Lines, Parquet and text files (told apart by suffix) until `limit` bytes.

    Raises ConfigError when a file is missing or a record is broken.
    """
    size = 0
    for file in files:
        for text in _texts(_source(file, text_field)):
            size += len(text.encode())
            if size > limit:
                return
            yield text


def _source(file: str, text_field: str) -> CorpusSource:
    name = file.removesuffix(".gz").removesuffix(".zst")
    kind = "jsonl" if name.endswith((".jsonl", ".json")) else "parquet" if name.endswith(".parquet") else "text"
    field = {} if kind == "text" else {"text_field": text_field}
    return CorpusSource.parse({"kind": kind, "paths": [file], "weight": 1, **field})


def _texts(source: CorpusSource) -> Iterator[str]:
    for unit in find_units(source):
        for record in read_unit(source, unit):
            if isinstance(record, Broken):
                where = f"{record.file}, record {record.record:,}"
                raise ConfigError.of("files", where, record.reason, "correct the record, or leave the file out")
            yield record.text
