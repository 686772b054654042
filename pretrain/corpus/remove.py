"""`remove`: a new version of a corpus without some documents. Only the shards that hold them are written again.

Where documents are packed into samples, theirs become padding, so that all other samples stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pretrain.config.errors import ConfigError
from pretrain.corpus import report
from pretrain.corpus.forget import forget
from pretrain.corpus.workspace import locked
from pretrain.shards.indexed import IndexedReader, IndexedWriter
from pretrain.shards.manifest import SPLITS, Manifest, Shard, Source, Split, Stage, load_manifest
from pretrain.shards.sidecar import FIRST, SidecarWriter, find_rows, read_table

Follow = Callable[..., Iterable["Place"]]
"""Shows progress: corpus.progress.Reporter.follow."""

Mask = npt.NDArray[np.bool_]

CHUNK = 2**22
"""Tokens copied together."""


@dataclass(frozen=True)
class Place:
    """Documents of one shard that are to go."""

    source: str
    split: str
    shard: Shard
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Removed:
    """What was done."""

    manifest: Path
    before: Path
    """The manifest of before, which still serves what it did."""
    documents: int
    shards: int


def find_places(manifest: Manifest, wanted: Collection[str], follow: Follow) -> list[Place]:
    """Where the documents are whose id, or FILE:RECORD, is in `wanted`. Raises ConfigError."""
    every = [
        Place(name, split, shard, ())
        for name, source in manifest.sources.items()
        for split in SPLITS
        for shard in source.splits[split].shards
    ]
    looked = follow("shards", every, len(every), lambda place: place.shard.path)
    found = [replace(one, rows=tuple(find_rows(manifest.directory / one.shard.path, wanted))) for one in looked]
    return [place for place in found if place.rows]


def read_names(path: Path) -> set[str]:
    """The lines of a file, empty ones left out. Raises ConfigError."""
    try:
        names = {line.strip() for line in path.read_text(encoding="utf-8").split("\n")} - {""}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError.of("ids", str(path), f"must be a text file ({error})", "write a document a line") from None
    if not names:
        raise ConfigError.of("ids", str(path), "names no document", "write a document a line")
    return names


def missing(manifest: Manifest, names: Collection[str], places: Sequence[Place]) -> list[str]:
    """The names that no row of `places` has."""
    found = set[str]()
    for place in places:
        rows = read_table(manifest.directory / place.shard.path).take(pa.array(place.rows)).to_pylist()
        found.update(name for row in rows for name in (row["id"], f"{row['file']}:{row['record']}") if name)
    return sorted(set(names) - found)


def remove(path: Path, places: Sequence[Place], names: Set[str], follow: Follow) -> Removed:
    """Write the shards of `places` again without their rows, then the manifest; the old one is kept beside it.

    The documents `names` are shown nowhere any more either.

    Killed on the way it leaves the old corpus. Raises ConfigError: a full disk, a corpus in use.
    """
    with locked(path.parent):
        manifest = load_manifest(path)
        version = 1 + max((int(old.stem[-3:]) for old in path.parent.glob("manifest-[0-9][0-9][0-9].json")), default=0)
        folder = f"without-{version:03}"
        made = {
            place.shard.path: _without(manifest, place, f"{folder}/{place.source}/{place.split}")
            for place in follow("rewrite", places, len(places), lambda place: place.shard.path)
        }
        sources = {name: _source(source, made) for name, source in manifest.sources.items()}
        before = path.with_name(f"manifest-{version:03}.json")
        manifest.save(before)
        after = replace(manifest, sources=sources)
        forget(path.parent, names)
        report.write(after, path.parent)
        after.save(path)
    documents = sum(place.shard.documents - made[place.shard.path].documents for place in places)
    return Removed(path, before, documents, len(places))


def _without(manifest: Manifest, place: Place, folder: str) -> Shard:
    """Write a shard again without the rows of `place`."""
    old, path = place.shard, f"{folder}-{place.shard.path.rpartition('-')[2]}"
    reader, table = IndexedReader(manifest.directory / old.path), read_table(manifest.directory / old.path)
    gone = np.zeros(reader.documents, dtype=np.bool_)
    gone[list(place.rows)] = True
    packing = manifest.packing
    with (
        IndexedWriter(manifest.directory / path, manifest.dtype) as shard,
        SidecarWriter(manifest.directory / path, packing is not None) as sidecar,
    ):
        if packing:
            _blank(shard, reader, gone, manifest.tokenizer.end_of_text)
            sidecar.add(_anonymous(table, gone))
        else:
            _drop(shard, reader, gone)
            sidecar.add(table.filter(pa.array(~gone)))
    lost = _lost(manifest, table.filter(pa.array(gone)))
    return replace(
        old,
        path=path,
        tokens=shard.tokens,
        files=shard.files | sidecar.files,
        documents=old.documents - lost.documents,
        text_bytes=old.text_bytes - lost.text_bytes,
        cut_documents=old.cut_documents - lost.cut_documents,
        padding_tokens=old.padding_tokens + (int(np.asarray(reader.lengths)[gone].sum()) if packing else 0),
    )


def _drop(shard: IndexedWriter, reader: IndexedReader, gone: Mask) -> None:
    """Copy what stays, neighbouring documents together."""
    edges = np.flatnonzero(np.diff(gone, prepend=True, append=True)).tolist()
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        _copy(shard, reader, first, stop)


def _blank(shard: IndexedWriter, reader: IndexedReader, gone: Mask, end_of_text: int) -> None:
    """Copy everything, with end-of-text in place of what goes."""
    for document, lost in enumerate(gone.tolist()):
        tokens = reader[document]
        shard.add(np.full_like(tokens, end_of_text) if lost else tokens, [len(tokens)])


def _copy(shard: IndexedWriter, reader: IndexedReader, first: int, stop: int) -> None:
    lengths = np.asarray(reader.lengths[first:stop]).astype(np.int64)
    start = int(reader.offsets[first]) // reader.dtype.itemsize
    for part in np.array_split(np.arange(len(lengths)), max(1, int(lengths.sum()) // CHUNK)):
        size = int(lengths[part].sum())
        shard.add(reader.tokens[start : start + size], lengths[part])
        start += size


def _anonymous(table: pa.Table, gone: Mask) -> pa.Table:
    """The rows, of which those that go keep nothing but their source."""
    rows = [
        row | {"file": "", "record": 0, "id": None, "bytes": 0, FIRST: 0} if lost else row
        for row, lost in zip(table.to_pylist(), gone.tolist(), strict=True)
    ]
    return pa.Table.from_pylist(rows, table.schema)


@dataclass(frozen=True)
class Lost:
    """Counts of what goes."""

    documents: int
    text_bytes: int
    cut_documents: int


def _lost(manifest: Manifest, rows: pa.Table) -> Lost:
    """Of packed documents every piece has a row: the first one begins at 0, the second of a cut one at T."""
    if manifest.packing is None:
        return Lost(rows.num_rows, pc.sum(rows["bytes"]).as_py() or 0, 0)
    whole = rows.filter(pc.equal(rows[FIRST], 0))
    cut = pc.sum(pc.equal(rows[FIRST], manifest.packing.sequence_length)).as_py() or 0
    return Lost(whole.num_rows, pc.sum(whole["bytes"]).as_py() or 0, cut)


def _source(source: Source, made: dict[str, Shard]) -> Source:
    """With the new shards, new sums, and a stage that says how many documents were taken out."""
    splits = {
        split: Split.of([made.get(shard.path, shard) for shard in old.shards]) for split, old in source.splits.items()
    }
    before, after = (
        (sum(split.documents for split in one.values()), sum(split.text_bytes for split in one.values()))
        for one in (source.splits, splits)
    )
    if before == after:
        return source
    stage = Stage("remove", {}, before[0], after[0], before[1], after[1])
    return Source(source.weight, (*source.stages, stage), splits)
