"""Text files: a document each, or several with a separator between them."""

from __future__ import annotations

from collections.abc import Iterator

from pretrain.config.corpus import CorpusSource
from pretrain.corpus.document import Broken, Document, Record, Unit
from pretrain.corpus.sources.files import opened, units

__all__ = ["read", "units"]


def read(source: CorpusSource, unit: Unit) -> Iterator[Record]:
    """The documents of one file, numbered from 1. The file is held in memory."""
    path = unit.items[0]
    with opened(path) as file:
        raw = file.read()
    pieces = raw.split(source.separator.encode()) if source.separator else [raw]
    for number, piece in enumerate(pieces, 1):
        yield _record(path, number, piece.strip(b"\r\n") if source.separator else piece)


def _record(path: str, number: int, piece: bytes) -> Record:
    try:
        return Document(piece.decode(), path, number)
    except UnicodeDecodeError as error:
        return Broken(path, number, f"is not UTF-8 at byte {error.start:,} of the document", len(piece))
