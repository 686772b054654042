"""What the sources give: documents, records that are broken, and the units in which they are read."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """A text and where it came from."""

    text: str
    file: str
    """Path, or name of the data set or package file."""
    record: int
    """Number in the file, from 1; a line for JSONL."""
    id: str | None = None
    """The document's own, when it has one."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that is not a document."""

    file: str
    record: int
    reason: str
    bytes: int = 0
    """Size of the raw record."""
    expected: bool = False
    """Every crawl has such records, pages without text: left out and counted even where broken ones are refused."""


Record = Document | Broken


@dataclass(frozen=True, slots=True)
class Unit:
    """What one process reads in one go: a file, a range of a data set, a group of modules."""

    index: int
    """Place in the order of the source."""
    items: tuple[str, ...]
    """Files, or whatever the kind of source reads."""
    start: int = 0
    stop: int = 0
    """A range of rows or shards, where the kind needs one."""
    stamp: str = ""
    """Changes when the input does: sizes and times of files, versions of packages."""


def text_key(text: bytes) -> tuple[int, int]:
    """Two independent 64-bit hashes of a text: one orders documents, the other chooses which validate."""
    order, choice = struct.unpack("<QQ", hashlib.blake2b(text, digest_size=16).digest())
    return order, choice
