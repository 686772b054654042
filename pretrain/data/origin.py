"""Where samples come from: source, shard and documents, for telling a person what was left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pretrain.config.errors import ConfigError
from pretrain.data.dataset import Corpus
from pretrain.data.order import Indices, Order
from pretrain.shards.indexed import IndexedReader
from pretrain.shards.sidecar import read_origin


@dataclass(frozen=True)
class Origin:
    """One sample of the order."""

    sample: int
    """Index in the order."""
    source: str
    shard: str
    """The one in which it begins, relative to the manifest."""
    documents: tuple[int, int] | None
    """First and last document of that shard in it; None where the shard has no index."""

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


def origins(corpus: Corpus, order: Order, index: Indices) -> Iterator[Origin]:
    """Where the training samples at these indices [n] of the order come from. Reads the index files of their shards."""
    places, readers = order.at(index), dict[str, IndexedReader | None]()
    for sample, source, position in zip(index.tolist(), *(column.tolist() for column in places), strict=True):
        name = corpus.sources[source]
        shard, start = _shard(corpus, name, position * corpus.sequence_length)
        if shard not in readers:
            readers[shard] = _open(corpus, shard)
        yield Origin(sample, name, shard, _documents(readers[shard], start, corpus.sequence_length))


def document_id(corpus: Corpus, origin: Origin) -> str:
    """The first document of a sample as its sidecar names it: its own id, or file and record; else the number."""
    if origin.documents is None:
        return origin.shard
    number = origin.documents[0]
    try:
        row = read_origin(corpus.manifest.directory / origin.shard, number)
    except (ConfigError, IndexError):
        return f"{origin.shard} document {number}"
    return f"{origin.shard} document {number} ({row['id'] or '{}:{}'.format(row['file'], row['record'])})"


def _shard(corpus: Corpus, source: str, token: int) -> tuple[str, int]:
    """The shard that holds a token of a source's training stream, and which of its tokens that is."""
    for shard in corpus.manifest.sources[source].splits["train"].shards:
        if token < shard.tokens:
            return shard.path, token
        token -= shard.tokens
    raise IndexError(f"{source} ends {token} tokens before")


def _open(corpus: Corpus, shard: str) -> IndexedReader | None:
    try:
        return IndexedReader(corpus.manifest.directory / shard)
    except ConfigError:
        return None


def _documents(reader: IndexedReader | None, start: int, tokens: int) -> tuple[int, int] | None:
    """First and last document of `tokens` tokens from token `start` of a shard."""
    if reader is None:
        return None
    ends = (start, min(start + tokens, reader.token_count) - 1)
    sequences = np.searchsorted(reader.offsets, np.array(ends) * reader.dtype.itemsize, side="right") - 1
    first, last = (np.searchsorted(reader.document_starts, sequences, side="right") - 1).tolist()
    return first, last
