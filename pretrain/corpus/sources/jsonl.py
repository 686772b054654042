"""JSON Lines: an object a line."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from pretrain.config.corpus import CorpusSource
from pretrain.corpus.document import Broken, Document, Record, Unit
from pretrain.corpus.sources.files import opened, pieces, too_large, units

__all__ = ["read", "units"]


def read(source: CorpusSource, unit: Unit) -> Iterator[Record]:
    """The records of one file, numbered by line; blank lines are passed over."""
    path = unit.items[0]
    with opened(path) as file:
        for number, line in enumerate(pieces(file, b"\n", source.record_limit), 1):
            if isinstance(line, int):
                yield too_large(source, path, number, line)
            elif line.strip():
                yield _record(source, path, number, line.rstrip(b"\r"))


def _record(source: CorpusSource, path: str, number: int, line: bytes) -> Record:
    try:
        # orjson refuses invalid UTF-8 and lone surrogates, which JSON escapes can hide.
        plain = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Broken(path, number, f"is not JSON: {error}", len(line))
    if not isinstance(plain, dict):
        return Broken(path, number, "is not a JSON object", len(line))
    text = plain.get(source.text_field)
    if not isinstance(text, str):
        what = "has no" if text is None else "has no text in the"
        known = ", ".join(map(repr, list(plain)[:8])) or "none"
        return Broken(path, number, f"{what} field {source.text_field!r} (its fields: {known})", len(line))
    own = plain.get(source.id_field) if source.id_field else None
    return Document(text, path, number, None if own is None else str(own))
