"""The kinds of sources. Each module offers `units(source)` and `read(source, unit)`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from pretrain.config.corpus import CorpusSource
from pretrain.corpus.document import Document, Record, Unit
from pretrain.corpus.sources.files import too_large

MODULES = {
    "jsonl": "jsonl",
    "parquet": "parquet",
    "text": "text",
    "html": "html",
    "warc": "warc",
    "huggingface": "huggingface",
    "installed-docs": "installed",
}


def find_units(source: CorpusSource) -> list[Unit]:
    """The units of a source in order. Raises ConfigError when a path or data set is not there."""
    units: list[Unit] = _module(source).units(source)
    return units


def read_unit(source: CorpusSource, unit: Unit) -> Iterator[Record]:
    """Documents and broken records of a unit, in order. Raises ConfigError when the input cannot be read on."""
    limit = source.record_limit
    for record in _module(source).read(source, unit):
        # A character has 4 bytes at most. Columns of tables come as texts; other kinds look before they hold one.
        large = isinstance(record, Document) and len(record.text) * 4 > limit
        size = len(record.text.encode(errors="surrogatepass")) if large else 0
        yield too_large(source, record.file, record.record, size) if size > limit else record


def _module(source: CorpusSource) -> Any:
    # Imported when used: `datasets` alone takes a second.
    return importlib.import_module(f"{__name__}.{MODULES[source.kind]}")
