"""What a sample is made of: pieces of documents, to be shown to a person."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pretrain.config.errors import ConfigError
from pretrain.data.dataset import Corpus
from pretrain.shards.indexed import IndexedReader
from pretrain.shards.sidecar import read_origin


@dataclass(frozen=True)
class Piece:
    """Neighbouring tokens of one document. Without its index a shard's documents are not known."""

    shard: str
    """Relative to the manifest."""
    document: int | None
    """Its number in the shard."""
    first: int
    """Which token of the document (of the shard, where documents are not known) is the first one here."""
    tokens: int
    length: int | None
    """Tokens of the whole document."""

    @property
    def place(self) -> str:
        """Such as `web-00000:17`, which `order find` understands."""
        return self.shard if self.document is None else f"{self.shard}:{self.document}"


def pieces(corpus: Corpus, source: int, position: int) -> list[Piece]:
    """The pieces of a training sample in the order of its T+1 tokens; the last token is only predicted."""
    stream, found = corpus.train[source], list[Piece]()
    window = stream.window(position)
    token, left = window.start, len(window)
    while left:
        number, start = stream.locate(token)
        shard = stream.shards[number]
        here = min(left, shard.tokens - start)
        found += _of_shard(corpus, shard.path, start, here)
        token, left = token + here, left - here
    return found


def document_tokens(reader: IndexedReader, document: int) -> range:
    """The tokens of a document inside its shard, whose sequences lie back to back."""
    first, after = reader.document_starts[document : document + 2].tolist()
    return range(_token(reader, first), _token(reader, after))


def document_at(reader: IndexedReader, token: int) -> int:
    """The document that a token of a shard belongs to. Reads a few entries of the index, whatever its size."""
    sequence = bisect_right(reader.offsets, token * reader.dtype.itemsize) - 1
    return bisect_right(reader.document_starts, sequence, hi=reader.documents) - 1


def origin_of(corpus: Corpus, shard: str, document: int) -> dict[str, Any] | None:
    """The document's row of the sidecar; None where there is none."""
    try:
        return read_origin(corpus.manifest.directory / shard, document)
    except (ConfigError, IndexError):
        return None


def _of_shard(corpus: Corpus, shard: str, start: int, tokens: int) -> Iterator[Piece]:
    try:
        reader = IndexedReader(corpus.manifest.directory / shard)
    except ConfigError:
        yield Piece(shard, None, start, tokens, None)
        return
    end = start + tokens
    while start < end:
        document = document_at(reader, start)
        mine = document_tokens(reader, document)
        stop = min(end, mine.stop)
        yield Piece(shard, document, start - mine.start, stop - start, len(mine))
        start = stop


def _token(reader: IndexedReader, sequence: int) -> int:
    """The first token of a sequence; after the last one, the number of tokens."""
    if sequence == reader.sequences:
        return reader.token_count
    return int(reader.offsets[sequence]) // reader.dtype.itemsize
