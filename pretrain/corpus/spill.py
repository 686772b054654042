"""Runs: documents on their way, in temporary files that a shard can gather from.

A run is a folder of up to RUN_BYTES of text: keys.npy (hashes, place, size of each document: what selecting needs),
text.arrow (batches of BATCH_BYTES, each readable alone), bounds.npy (first row of each batch), and, once selected,
keep.npy. With `order: hash` its rows are sorted by hash, so a range of hashes is a range of rows. Marks, for the stages
that compare documents, are further arrays.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pretrain.corpus.document import Document, text_key
from pretrain.shards.files import AtomicFile, write_atomically

RUN_BYTES = 128 * 2**20
BATCH_BYTES = 2**18
KEY = np.dtype([("order", "<u8"), ("choice", "<u8"), ("place", "<u4"), ("bytes", "<u4")])
"""Two hashes of the text (see text_key), number of the document in its unit, size in bytes of UTF-8."""
SCHEMA = pa.schema([("text", pa.large_string()), ("file", pa.string()), ("record", pa.int64()), ("id", pa.string())])
DROPPED, TRAIN, VALIDATION = 0, 1, 2
"""Values in keep.npy."""

Keys = npt.NDArray[np.void]
Keep = npt.NDArray[np.uint8]


@dataclass
class RunWriter:
    """Collects the documents of a unit and writes them as run-00000, run-00001, ... below `directory`."""

    directory: Path
    sort: bool
    marks: Callable[[list[str]], dict[str, npt.NDArray[Any]]] = lambda _: {}
    """Makes the marks of a run from its texts."""
    runs: list[str] = field(default_factory=list)
    """Folders written so far."""
    documents: int = 0
    """Documents added."""
    _rows: list[tuple[Document, tuple[int, int, int, int]]] = field(default_factory=list)
    _bytes: int = 0

    def add(self, document: Document, encoded: bytes, choice: int | None = None) -> None:
        """Append a document, whose text is `encoded` in UTF-8. `choice`: its second hash, if not that of its text."""
        order, own = text_key(encoded)
        choice = own if choice is None else choice
        self._rows.append((document, (order, choice, self.documents, len(encoded))))
        self.documents += 1
        self._bytes += len(encoded)
        if self._bytes >= RUN_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was collected as a run."""
        if not self._rows:
            return
        if self.sort:
            self._rows.sort(key=lambda row: row[1][:3])
        path = self.directory / f"run-{len(self.runs):05}"
        bounds = _write_text(path / "text.arrow", self._rows)
        _save(path / "bounds.npy", np.array(bounds, dtype=np.int64))
        _save(path / "keys.npy", np.array([key for _, key in self._rows], dtype=KEY))
        for name, mark in self.marks([document.text for document, _ in self._rows]).items():
            _save(path / f"{name}.npy", np.asfortranarray(mark))
        self.runs.append(str(path))
        self._rows, self._bytes = [], 0


@dataclass(frozen=True)
class Run:
    """A written run. Nothing is read before it is asked for; keys are mapped, not loaded."""

    path: str

    @cached_property
    def keys(self) -> Keys:
        """[documents] of KEY."""
        keys: Keys = np.load(Path(self.path, "keys.npy"), mmap_mode="r")
        return keys

    @cached_property
    def keep(self) -> Keep:
        """[documents] of DROPPED, TRAIN, VALIDATION."""
        keep: Keep = np.load(Path(self.path, "keep.npy"), mmap_mode="r")
        return keep

    def save_keep(self, keep: Keep) -> None:
        """Store what becomes of each document."""
        _save(Path(self.path, "keep.npy"), keep)

    def mark(self, name: str) -> npt.NDArray[Any]:
        """A mark; columns lie together."""
        mark: npt.NDArray[Any] = np.load(Path(self.path, f"{name}.npy"), mmap_mode="r")
        return mark

    def save_mark(self, name: str, mark: npt.NDArray[Any]) -> None:
        """Store a mark that was found later."""
        _save(Path(self.path, f"{name}.npy"), mark)

    def rows(self, start: int, stop: int, columns: Sequence[str] = SCHEMA.names) -> pa.Table:
        """Rows [start, stop) with columns of SCHEMA; unpacks only the batches that hold them."""
        bounds = np.load(Path(self.path, "bounds.npy"))
        first = int(np.searchsorted(bounds, start, side="right")) - 1
        last = int(np.searchsorted(bounds, stop, side="left"))
        wanted = [SCHEMA.get_field_index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=wanted)
        path = str(Path(self.path, "text.arrow"))
        with pa.memory_map(path) as source, pa.ipc.open_file(source, options=options) as file:
            table = pa.Table.from_batches([file.get_batch(batch) for batch in range(first, last)])
        return table.slice(start - int(bounds[first]), stop - start)

    def document(self, row: int) -> Document:
        """One document."""
        return Document(**self.rows(row, row + 1).to_pylist()[0])

    def texts(self, code: int, limit: int = 2**64) -> Iterator[str]:
        """Texts whose keep is `code` and whose hash is below `limit`, in the order of the run."""
        chosen = np.flatnonzero((self.keep == code) & (self.keys["order"] <= np.uint64(limit - 1)))
        if len(chosen):
            table = self.rows(int(chosen[0]), int(chosen[-1]) + 1)
            yield from table.column("text").take(pa.array(chosen - chosen[0])).to_pylist()


def _write_text(path: Path, rows: list[tuple[Document, Any]]) -> list[int]:
    """Write the texts in batches of about BATCH_BYTES and return the first row of each."""
    bounds = _bounds([key[3] for _, key in rows])
    file = AtomicFile(path)
    try:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(file, SCHEMA, options=options) as writer:
            for start, stop in zip(bounds, [*bounds[1:], len(rows)], strict=True):
                writer.write_batch(_batch([document for document, _ in rows[start:stop]]))
        file.commit()
    finally:
        file.discard()
    return bounds


def _bounds(sizes: list[int]) -> list[int]:
    bounds, filled = [0], 0
    for row, size in enumerate(sizes):
        if filled and filled + size > BATCH_BYTES:
            bounds.append(row)
            filled = 0
        filled += size
    return bounds


def _batch(documents: list[Document]) -> pa.RecordBatch:
    columns = {name: [getattr(document, name) for document in documents] for name in SCHEMA.names}
    return pa.RecordBatch.from_pydict(columns, SCHEMA)


def _save(path: Path, values: npt.NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, values)
    write_atomically(path, buffer.getbuffer().tobytes())
