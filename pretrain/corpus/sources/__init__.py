"""The kinds of sources. Each module offers `units(source)` and `read(source, unit)`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Protocol

from pretrain.config.corpus import CorpusSource
from pretrain.config.own import SOURCE
from pretrain.corpus.document import Broken, Record, Unit
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


class Source(Protocol):
    """What every kind offers, and a class of yours (docs/own-parts.md)."""

    def units(self) -> list[Unit]:
        """What one process each reads, in order: the same list on every machine."""

    def read(self, unit: Unit) -> Iterator[Record]:
        """The documents of a unit, in order: the same each time."""


def find_units(source: CorpusSource) -> list[Unit]:
    """The units of a source in order. Raises ConfigError when a path or data set is not there."""
    if source.own:
        own: Source = source.own.make("class", SOURCE)
        return own.units()
    units: list[Unit] = _module(source).units(source)
    return units


def read_unit(source: CorpusSource, unit: Unit) -> Iterator[Record]:
    """Documents and broken records of a unit, in order. Raises ConfigError when the input cannot be read on."""
    return (_limited(source, record) for record in _records(source, unit))


def _limited(source: CorpusSource, record: Record) -> Record:
    """The record, or a broken one in its place when it is too large."""
    limit = source.record_limit
    # A character has 4 bytes at most. Columns of tables come as texts; other kinds look before they hold one.
    if isinstance(record, Broken) or len(record.text) * 4 <= limit:
        return record
    size = len(record.text.encode(errors="surrogatepass"))
    return too_large(source, record.file, record.record, size) if size > limit else record


def _records(source: CorpusSource, unit: Unit) -> Iterator[Record]:
    if source.own:
        own: Source = source.own.make("class", SOURCE)
        return own.read(unit)
    records: Iterator[Record] = _module(source).read(source, unit)
    return records


def _module(source: CorpusSource) -> Any:
    # Imported when used: `datasets` alone takes a second.
    return importlib.import_module(f"{__name__}.{MODULES[source.kind]}")
