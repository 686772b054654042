"""Phase encode, a task a shard: gather its documents from the runs, encode them, write .bin, .idx and sidecar."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from pretrain.corpus.packing import fill, pack
from pretrain.corpus.spill import Run
from pretrain.shards.files import write_atomically
from pretrain.shards.indexed import IndexedWriter
from pretrain.shards.manifest import Shard
from pretrain.shards.sidecar import FIRST, SidecarWriter
from tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class ShardTask:
    """A range of positions of one split of one source. Position: the hash, or with `order: file` the byte of text."""

    source: str
    split: str
    directory: str
    """Of the corpus; `path` is relative to it."""
    path: str
    runs: tuple[tuple[str, int], ...]
    """Folders of the runs, each with the position of its first byte (`order: file`)."""
    code: int
    """Which documents: TRAIN or VALIDATION."""
    by_hash: bool
    start: int
    stop: int
    slices: int
    """Parts that are held in memory one after another."""
    tokenizer: str
    """Directory of the tokenizer."""
    dtype: str
    append_end_of_text: bool
    sequence_length: int | None
    """T where documents are packed into samples."""
    record: str
    """File that records the finished shard."""


def done(task: ShardTask) -> Shard | None:
    """The shard, if an earlier call finished it and its files still have their sizes."""
    path = Path(task.record)
    if not path.is_file():
        return None
    shard = Shard(**orjson.loads(path.read_bytes()))
    sizes = {suffix: Path(task.directory, shard.path + suffix) for suffix in shard.files}
    whole = all(file.is_file() and file.stat().st_size == shard.files[s]["bytes"] for s, file in sizes.items())
    return shard if whole else None


def run(task: ShardTask) -> Shard:
    """Write a shard and record it."""
    tokenizer, prefix = _tokenizer(task.tokenizer), Path(task.directory, task.path)
    packed = task.sequence_length is not None
    counts = dict.fromkeys(("documents", "text_bytes", "cut_documents", "padding_tokens"), 0)
    with IndexedWriter(prefix, task.dtype) as shard, SidecarWriter(prefix, packed) as sidecar:
        for part in range(task.slices):
            table = _gather(task, *_slice(task, part))
            if table.num_rows:
                tokens, lengths = _encode(tokenizer, table.column("text").to_pylist(), task.append_end_of_text)
                origins = _origins(task.source, table)
                counts["documents"] += table.num_rows
                counts["text_bytes"] += int(np.sum(table.column("bytes").to_numpy(), dtype=np.int64))
                if task.sequence_length is not None:
                    bins = pack(lengths, task.sequence_length)
                    counts["cut_documents"] += bins.cut_documents
                    counts["padding_tokens"] += int(bins.padding.sum())
                    tokens, lengths = fill(bins, tokens, lengths, tokenizer.end_of_text), bins.padded_tokens
                    origins = origins.take(pa.array(bins.document)).append_column(FIRST, pa.array(bins.first))
                shard.add(tokens, lengths)
                sidecar.add(origins)
    pieces, files = shard.documents if packed else None, shard.files | sidecar.files
    done = Shard(path=task.path, tokens=shard.tokens, files=files, pieces=pieces, **counts)
    write_atomically(Path(task.record), orjson.dumps(asdict(done)))
    return done


_KEPT: dict[str, Tokenizer] = {}
"""By directory: loading one takes as long as encoding 30 MB, and a process encodes with one."""


def keep_tokenizer(directory: Path, tokenizer: Tokenizer) -> None:
    """Write the tokenizer that shards will be encoded with; this process need not load it again."""
    tokenizer.save(directory)
    _KEPT.clear()
    _KEPT[str(directory)] = tokenizer


def _tokenizer(directory: str) -> Tokenizer:
    if directory not in _KEPT:
        _KEPT.clear()
        _KEPT[directory] = load_tokenizer(directory)
    return _KEPT[directory]


def _slice(task: ShardTask, part: int) -> tuple[int, int]:
    span = task.stop - task.start
    return task.start + span * part // task.slices, task.start + span * (part + 1) // task.slices


def _gather(task: ShardTask, start: int, stop: int) -> pa.Table:
    """The documents at positions [start, stop), in order, with columns text, file, record, id, bytes, order, choice."""
    tables = []
    for path, base in task.runs:
        run = Run(path)
        first, last = _rows(task, run, base, start, stop)
        rows = np.flatnonzero(run.keep[first:last] == task.code)
        if len(rows):
            table = run.rows(first, last).take(pa.array(rows))
            for name in ("bytes", "order", "choice"):
                table = table.append_column(name, pa.array(run.keys[name][first:last][rows]))
            tables.append(table)
    if not tables:
        return pa.table({"text": pa.array([], pa.large_string())})
    table = pa.concat_tables(tables)
    if task.by_hash:
        by_key = np.lexsort((table.column("choice").to_numpy(), table.column("order").to_numpy()))
        table = table.take(pa.array(by_key))
    return table


def _rows(task: ShardTask, run: Run, base: int, start: int, stop: int) -> tuple[int, int]:
    if task.by_hash:
        positions = run.keys["order"]
    else:
        sizes = np.where(run.keep == task.code, run.keys["bytes"], 0).astype(np.uint64)
        positions = np.cumsum(sizes) - sizes + np.uint64(base)
    return _below(positions, start), _below(positions, stop)


def _below(positions: npt.NDArray[np.uint64], limit: int) -> int:
    """How many of the sorted positions are below `limit`, which may be 2**64."""
    if limit <= 0:
        return 0
    return int(np.searchsorted(positions, np.uint64(limit - 1), side="right"))


def _encode(
    tokenizer: Tokenizer, texts: list[str], append: bool
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    tokens, lengths = tokenizer.encode_batch(texts)
    if append:
        tokens = np.insert(tokens, np.cumsum(lengths), np.uint32(tokenizer.end_of_text))
        lengths = lengths + 1
    return tokens, lengths


def _origins(source: str, table: pa.Table) -> pa.Table:
    names = pa.array([source] * table.num_rows, pa.string())
    return table.select(["file", "record", "id", "bytes"]).append_column("source", names)
