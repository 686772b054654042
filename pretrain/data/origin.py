"""Where samples come from: source, shard and documents, for telling a person what was left out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pretrain.config.errors import ConfigError
from pretrain.data.dataset import Corpus
from pretrain.data.order import Indices, Order
from pretrain.data.pieces import document_at, origin_of
from pretrain.shards.indexed import IndexedReader


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


def origins(corpus: Corpus, order: Order, index: Indices) -> list[Origin]:
    """Where the training samples at these indices [n] of the order come from, in the order of `index`.

    Reads the index files of their shards, one after the other: a rollback may ask about samples of thousands of shards.
    """
    source, position = order.at(index)
    found, shard, reader = dict[int, Origin](), "", None
    for row in np.lexsort((position, source)).tolist():  # as they lie in the shards
        name = corpus.sources[source[row]]
        stream = corpus.train[source[row]]
        number, start = stream.locate(stream.window(int(position[row])).start)
        path = stream.shards[number].path
        if path != shard:
            shard, reader = path, _open(corpus, path)
        found[row] = Origin(int(index[row]), name, shard, _documents(reader, start, corpus.sequence_length))
    return [found[row] for row in range(len(index))]


def document_id(corpus: Corpus, origin: Origin) -> str:
    """The first document of a sample as its sidecar names it: its own id, or file and record; else the number."""
    if origin.documents is None:
        return origin.shard
    number = origin.documents[0]
    row = origin_of(corpus, origin.shard, number)
    if row is None:
        return f"{origin.shard} document {number}"
    return f"{origin.shard} document {number} ({row['id'] or '{}:{}'.format(row['file'], row['record'])})"


def _open(corpus: Corpus, shard: str) -> IndexedReader | None:
    try:
        return IndexedReader(corpus.manifest.directory / shard)
    except ConfigError:
        return None


def _documents(reader: IndexedReader | None, start: int, tokens: int) -> tuple[int, int] | None:
    """First and last document of `tokens` tokens from token `start` of a shard."""
    if reader is None:
        return None
    last = min(start + tokens, reader.token_count) - 1
    return document_at(reader, start), document_at(reader, last)
