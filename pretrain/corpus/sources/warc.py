"""Web archives: HTML responses (WARC) and texts that were extracted already (WET)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from pretrain.config.corpus import CorpusSource
from pretrain.corpus.document import Broken, Document, Record, Unit
from pretrain.corpus.sources.files import CHUNK, opened, pieces, too_large, units
from pretrain.corpus.sources.pages import read_page

__all__ = ["read", "units"]

START = b"WARC/"
HTML = ("text/html", "application/xhtml+xml")


def read(source: CorpusSource, unit: Unit) -> Iterator[Record]:
    """The pages of one file, numbered among all its records. Requests, images and errors are passed over."""
    path = unit.items[0]
    with opened(path) as file:
        for number, found in enumerate(_records(file), 1):
            if isinstance(found, bytes):
                yield Broken(path, number, f"is not a WARC record: {found[:40]!r}", len(found))
                continue
            document = _document(source, path, number, found)
            _pass(found)
            if found.raw_stream.limit > 0:
                yield Broken(path, number, "is cut short", found.length - found.raw_stream.limit)
            elif document is not None:
                yield document


def _records(file: BinaryIO) -> Iterator[Any]:
    """Records; of what stands between them and is none, the first line. Reading goes on at the next record."""
    from warcio.recordloader import ArcWarcRecordLoader

    loader, lost = ArcWarcRecordLoader(), False
    while line := file.readline(CHUNK):
        record = _parsed(loader, file, line) if line.startswith(START) else None
        if record is not None:
            lost = False
            yield record
            _pass(record)
        elif line.strip() and not lost:
            lost = True
            yield line


def _parsed(loader: Any, file: BinaryIO, line: bytes) -> Any:
    """The record that begins with a line; None when its headers are damaged."""
    from warcio.exceptions import ArchiveLoadFailed

    try:
        # HTTP headers are looked at later: broken ones are the matter of one page.
        record = loader.parse_record_stream(file, line, "warc", no_record_parse=True)
    except (ArchiveLoadFailed, ValueError):
        return None
    return None if record.length is None else record


def _pass(record: Any) -> None:
    """Read on to the end of a record."""
    while record.raw_stream.read(CHUNK):
        pass


def _document(source: CorpusSource, path: str, number: int, record: Any) -> Record | None:
    """The document of a record, None when it is of another kind."""
    if record.rec_type not in ("response", "conversion"):
        return None
    if record.length > source.record_limit:
        return too_large(source, path, number, record.length)
    raw = record.raw_stream.read()
    url = record.rec_headers.get_header("WARC-Target-URI")
    if record.rec_type == "response":
        return _page(source, path, number, record, raw, url)
    try:
        return Document(raw.decode(), path, number, url)
    except UnicodeDecodeError as error:
        return Broken(path, number, f"is not UTF-8 at byte {error.start:,} of the document", len(raw))


def _page(source: CorpusSource, path: str, number: int, record: Any, raw: bytes, url: str) -> Record | None:
    from warcio.statusandheaders import StatusAndHeadersParser

    record.raw_stream, stream = io.BytesIO(raw), record.raw_stream
    try:
        record.http_headers = StatusAndHeadersParser(["HTTP/"], verify=False).parse(record.raw_stream)
        declared = record.http_headers.get_header("Content-Type") or ""
        if not record.http_headers.get_statuscode().startswith("2") or not declared.lower().startswith(HTML):
            return None
        page = next(pieces(record.content_stream(), b"", source.record_limit))
    except Exception as error:  # what servers send as headers, chunks or gzip is not for us to list
        return Broken(path, number, f"is not a page of HTTP ({error})", len(raw), expected=True)
    finally:
        record.raw_stream = stream
    if isinstance(page, int):
        return too_large(source, path, number, page)
    return read_page(page, path, number, url, declared)
