"""Which shards a corpus has: how many, and which range of documents each holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pretrain.config.corpus import Corpus
from pretrain.corpus.across.exact import HASHES
from pretrain.corpus.encode import ShardTask
from pretrain.corpus.selected import Selected
from pretrain.corpus.spill import TRAIN, VALIDATION, Run
from pretrain.corpus.workspace import Workspace
from tokenizer import Tokenizer

MAXIMUM_SHARDS = 1000
"""Of one split of one source; beyond, shards grow instead of multiplying."""
SLICE_BYTES = 48 * 2**20
"""Text that encoding a shard holds in memory at a time."""
CODES = {"train": TRAIN, "validation": VALIDATION}


@dataclass(frozen=True)
class Layout:
    """The positions of one split of one source, cut into equal parts."""

    source: str
    split: str
    bytes: int
    """Of text."""
    shards: int
    slices: int
    runs: tuple[tuple[str, int], ...]


def layouts(recipe: Corpus, selected: list[Selected], tokenizer: Tokenizer) -> list[Layout]:
    """Of every source and split, in order."""
    found = []
    for source in selected:
        density = bytes_per_token(source, tokenizer)
        found += [_layout(recipe, source, split, density) for split in CODES]
    return found


def plan_shards(recipe: Corpus, layout: Layout, workspace: Workspace, dtype: str) -> Iterator[ShardTask]:
    """The shards of one split of one source, in order."""
    span = HASHES if recipe.order == "hash" else layout.bytes
    for index in range(layout.shards):
        yield ShardTask(
            source=layout.source,
            split=layout.split,
            directory=str(workspace.directory),
            path=workspace.shard_path(layout.source, layout.split, index),
            runs=layout.runs,
            code=CODES[layout.split],
            by_hash=recipe.order == "hash",
            start=span * index // layout.shards,
            stop=span * (index + 1) // layout.shards,
            slices=layout.slices,
            tokenizer=str(workspace.new_tokenizer),
            dtype=dtype,
            append_end_of_text=recipe.append_end_of_text,
            sequence_length=recipe.packing.sequence_length if recipe.packing else None,
            record=str(workspace.shard_record(layout.source, layout.split, index)),
        )


def bytes_per_token(source: Selected, tokenizer: Tokenizer) -> float:
    """Measured on the first documents of a source: enough to size its shards."""
    for run in source.runs:
        texts = run.rows(0, min(100, len(run.keys))).column("text").to_pylist()
        tokens, _ = tokenizer.encode_batch(texts)
        if len(tokens):
            return sum(len(text.encode()) for text in texts) / len(tokens)
    return 4.0


def _layout(recipe: Corpus, source: Selected, split: str, density: float) -> Layout:
    code = CODES[split]
    documents, size = source.count(code)
    if not documents:
        return Layout(source.name, split, 0, 0, 0, ())
    wanted = round(size / density / recipe.shard_size)
    shards = max(1, min(wanted, MAXIMUM_SHARDS, documents))
    slices = max(1, -(-size // (shards * SLICE_BYTES)))
    if recipe.order == "hash":
        runs = tuple((run.path, 0) for run, keep in zip(source.runs, source.keep, strict=True) if (keep == code).any())
        return Layout(source.name, split, size, shards, slices, runs)
    return Layout(source.name, split, size, shards, slices, tuple(_with_bases(source, code)))


def _with_bases(source: Selected, code: int) -> Iterator[tuple[str, int]]:
    """Each run with the bytes of text kept before it."""
    base = 0
    for run, keep in zip(source.runs, source.keep, strict=True):
        yield run.path, base
        base += _kept_bytes(run, keep == code)


def _kept_bytes(run: Run, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
    return int(run.keys["bytes"][chosen].sum(dtype=np.int64))
