"""HTML files: a page each."""

from __future__ import annotations

from collections.abc import Iterator

from pretrain.config.corpus import CorpusSource
from pretrain.corpus.document import Record, Unit
from pretrain.corpus.sources import files
from pretrain.corpus.sources.pages import read_page
from pretrain.corpus.sources.remote import is_remote

PAGES = 200
"""Files of one unit."""


def units(source: CorpusSource) -> list[Unit]:
    """Groups of files, sorted within each glob."""
    return files.units(source, PAGES)


def read(source: CorpusSource, unit: Unit) -> Iterator[Record]:
    """The pages of a unit; each is record 1 of its file."""
    for path in unit.items:
        with files.opened(path) as file:
            page = next(files.pieces(file, b"", source.record_limit))
        if isinstance(page, int):
            yield files.too_large(source, path, 1, page)
        else:
            yield read_page(page, path, 1, path if is_remote(path) and path.startswith("http") else None)
