"""Phase read, a task a unit: read records, clean them, leave out broken and short ones, write the rest as runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from pretrain.config.corpus import CorpusSource
from pretrain.config.errors import ConfigError
from pretrain.corpus.across.marks import Wanted
from pretrain.corpus.clean import Dropped, Rule, Tallies, rules
from pretrain.corpus.document import Broken, Document, Record, Unit
from pretrain.corpus.sources import read_unit
from pretrain.corpus.spill import RunWriter
from pretrain.shards.files import write_atomically

SHOWN = 20
"""Dropped documents of each rule that are kept to look at."""
SHOWN_CHARACTERS = 500
"""Of their text."""


@dataclass(frozen=True)
class ReadTask:
    """What one process needs to read a unit."""

    name: str
    """Of the source."""
    source: CorpusSource
    unit: Unit
    directory: str
    """Where the runs of this unit go; beside it `.json` records that the unit is done."""
    sort: bool
    marks: Wanted
    """What to leave beside each run for the stages that compare documents."""


@dataclass
class UnitResult:
    """What a unit held. Counts are documents, sizes bytes of text (of the raw record when it is broken)."""

    index: int
    runs: list[str]
    broken: int = 0
    broken_bytes: int = 0
    short: int = 0
    short_bytes: int = 0
    documents: int = 0
    bytes: int = 0
    read_documents: int = 0
    """Those that were read, before repeated lines were taken out of them."""
    read_bytes: int = 0
    limited: tuple[int, int] | None = None
    """Documents and bytes within the limits of the source, before repeated lines were taken out of them."""
    cleaned: dict[str, list[int]] = field(default_factory=dict)
    """Rule -> documents and bytes that came to it, documents and bytes that it left."""
    dropped: list[dict[str, Any]] = field(default_factory=list)
    """SHOWN documents of each rule that it dropped, to look at."""
    tallies: dict[str, Counter[str]] = field(default_factory=Tallies)
    """What the rules measured: measure -> class or bucket -> documents."""


def done(directory: str) -> UnitResult | None:
    """The result of a unit that an earlier call finished."""
    path = Path(directory + ".json")
    return UnitResult(**orjson.loads(path.read_bytes())) if path.is_file() else None


def enough(task: ReadTask) -> bool:
    """Whether the units before this one are read and fill the limits of the source."""
    earlier: list[UnitResult] = []
    if task.source.maximum_documents is None and task.source.maximum_bytes is None:
        return False
    for index in range(task.unit.index):
        result = done(str(Path(task.directory).with_name(f"unit-{index:06}")))
        if result is None:
            return False
        earlier.append(result)
        if not within_limits(task.source, earlier):
            return True
    return False


def within_limits(source: CorpusSource, units: Sequence[UnitResult]) -> bool:
    """Whether these first units do not yet reach the limits of the source."""
    if source.maximum_documents is None and source.maximum_bytes is None:
        return True  # asked after every unit, of which there may be tens of thousands
    documents, size = sum(unit.read_documents for unit in units), sum(unit.read_bytes for unit in units)
    fewer = source.maximum_documents is None or documents < source.maximum_documents
    return fewer and (source.maximum_bytes is None or size < source.maximum_bytes)


def run(task: ReadTask) -> UnitResult:
    """Read a unit. Raises ConfigError for a broken record when the source refuses them."""
    tallies = Tallies()
    cleaning = rules(task.source.clean, tallies)
    result = UnitResult(task.unit.index, [], cleaned={name: [0, 0, 0, 0] for name in cleaning}, tallies=tallies)
    writer = RunWriter(Path(task.directory), task.sort, task.marks.of)
    for record in read_unit(task.source, task.unit):
        _take(task, record, result, writer, cleaning)
        if _full(task.source, result):
            break
    writer.flush()
    result.runs, result.read_documents, result.read_bytes = writer.runs, result.documents, result.bytes
    write_atomically(Path(task.directory + ".json"), orjson.dumps(result))
    return result


def _take(task: ReadTask, record: Record, result: UnitResult, writer: RunWriter, cleaning: Mapping[str, Rule]) -> None:
    if isinstance(record, Broken):
        _count_broken(task, record, result)
        return
    try:
        encoded = record.text.encode()
    except UnicodeEncodeError:
        broken = Broken(record.file, record.record, "holds a lone surrogate, which is not Unicode text", 0)
        _count_broken(task, broken, result)
        return
    result.tallies["read_bytes"][size_bucket(len(encoded))] += 1
    if cleaning:
        cleaned = _clean(record, len(encoded), result, cleaning)
        if cleaned is None:
            return
        record, encoded = cleaned, cleaned.text.encode()
    if len(encoded) < task.source.minimum_bytes:
        result.short += 1
        result.short_bytes += len(encoded)
        return
    result.documents += 1
    result.bytes += len(encoded)
    writer.add(record, encoded)


def _clean(document: Document, size: int, result: UnitResult, cleaning: Mapping[str, Rule]) -> Document | None:
    """What the rules leave of a document of `size` bytes; None when one drops it."""
    text = document.text
    for name, rule in cleaning.items():
        counts, left = result.cleaned[name], rule(text)
        counts[0], counts[1] = counts[0] + 1, counts[1] + size
        if isinstance(left, Dropped):
            if Counter(row["rule"] for row in result.dropped)[name] < SHOWN:
                start = text[:SHOWN_CHARACTERS]
                told = {"rule": name, "reason": left.reason, "file": document.file, "record": document.record}
                result.dropped.append({**told, "id": document.id, "bytes": size, "text": start})
            return None
        if left is not text:
            text, size = left, len(left.encode())
        counts[2], counts[3] = counts[2] + 1, counts[3] + size
    return replace(document, text=text)


def size_bucket(size: int) -> str:
    """The power of two at or below a size."""
    return str(1 << (size.bit_length() - 1)) if size else "0"


def _count_broken(task: ReadTask, broken: Broken, result: UnitResult) -> None:
    if task.source.on_error == "refuse" and not broken.expected:
        where = f"{broken.file}, record {broken.record:,}"
        fix = f"correct the record, or set sources.{task.name}.on_error: count to leave such records out"
        raise ConfigError.of(f"sources.{task.name}", where, broken.reason, fix)
    result.broken += 1
    result.broken_bytes += broken.bytes


def _full(source: CorpusSource, result: UnitResult) -> bool:
    """Whether this unit alone reaches the limits of the source; `select` cuts exactly."""
    documents, size = source.maximum_documents, source.maximum_bytes
    return (documents is not None and result.documents >= documents) or (size is not None and result.bytes >= size)
