"""Text files: a document each, or several with a separator between them."""

from __future__ import annotations

from collections.abc import Iterator

from pretrain.config.corpus import CorpusSource
from pretrain.corpus.document import Broken, Document, Record, Unit
from pretrain.corpus.sources.files import opened, pieces, too_large, units

__all__ = ["read", "units"]


def read(source: CorpusSource, unit: Unit) -> Iterator[Record]:
    """The documents of one file, numbered from 1."""
    path = unit.items[0]
    with opened(path) as file:
        separator = (source.separator or "").encode()
        for number, piece in enumerate(pieces(file, separator, source.record_limit), 1):
            if isinstance(piece, int):
                yield too_large(source, path, number, piece)
            else:
                yield _record(path, number, piece.strip(b"\r\n") if separator else piece)


def _record(path: str, number: int, piece: bytes) -> Record:
    try:
        return Document(piece.decode(), path, number)
    except UnicodeDecodeError as error:
        return Broken(path, number, f"is not UTF-8 at byte {error.start:,} of the document", len(piece))
