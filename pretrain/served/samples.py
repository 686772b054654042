"""The samples of a step with their documents and their text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pretrain.config.errors import ConfigError
from pretrain.config.layout import Layout, layout_of
from pretrain.data.loader import micro_batch_slices
from pretrain.data.order import Indices, Places
from pretrain.data.pieces import Piece, origin_of, pieces
from pretrain.served.open import Served
from pretrain.shards.sidecar import FIRST

if TYPE_CHECKING:
    from tokenizer import Tokenizer


@dataclass(frozen=True)
class Shown:
    """A piece of a document, and what it says."""

    piece: Piece
    origin: dict[str, Any] | None
    """The document's row of the sidecar: source, file, record, id, bytes."""
    text: str


@dataclass(frozen=True)
class Sample:
    """One sample of a step."""

    index: int
    """In the order."""
    source: str
    position: int
    """Inside the source."""
    pieces: tuple[Shown, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


def served_in(served: Served, step: int, rank: int | None = None, processes: int | None = None) -> Indices:
    """Indices in the order [n] of what `step` (the first is 1) serves, or what `rank` of `processes` is fed of it.

    Raises ConfigError for a step or a rank that the run does not have.
    """
    plan = served.order.plan
    if step > served.total_steps:
        raise ConfigError.of("step", step, f"{served.name} has {served.total_steps:,} steps", "give one of them")
    first, size = plan.batch(step - 1)
    numbers = np.arange(first, first + size, dtype=np.int64)
    if rank is not None:
        layout = _layout(served, processes)
        if rank >= layout.processes:
            rule = f"the run has {layout.processes} processes ({layout})"
            raise ConfigError.of("rank", rank, rule, "give one of them, or --processes")
        numbers = _share(served, numbers, layout.coordinate(rank).data, layout.data)
    return plan.order_index(numbers)


def read_samples(served: Served, index: Indices, tokenizer: Tokenizer) -> Iterator[Sample]:
    """The samples at these indices of the order, in that order."""
    corpus = served.corpus
    places = served.order.at(index)
    for number, source, position in zip(index.tolist(), *(part.tolist() for part in places), strict=True):
        tokens = corpus.read(corpus.train, Places(np.array([source]), np.array([position]))).tokens[0]
        shown, start = [], 0
        for piece in pieces(corpus, source, position):
            text = tokenizer.decode(tokens[start : start + piece.tokens])
            origin = None if piece.document is None else origin_of(corpus, piece.shard, piece.document)
            shown.append(Shown(piece, origin, text))
            start += piece.tokens
        yield Sample(number, corpus.sources[source], position, tuple(shown))


def sample_text(sample: Sample, characters: int) -> str:
    """A line for the sample and one for each piece, with so many characters of its text."""
    lines = [f"sample {sample.index}: {sample.source}, its sample {sample.position}"]
    for shown in sample.pieces:
        piece, text = shown.piece, shown.text
        lines.append(f"  {piece.place}{_name(shown.origin)}, tokens {_tokens(shown)}")
        if characters:
            lines.append(f"    {text[:characters]!r}{' ...' if len(text) > characters else ''}")
    return "\n".join(lines)


def _name(origin: dict[str, Any] | None) -> str:
    """What the document is called where it came from."""
    if origin is None:
        return ""
    place = f"{origin['file']}:{origin['record']}"
    return f" ({origin['id']}, {place})" if origin["id"] else f" ({place})"


def _tokens(shown: Shown) -> str:
    """Of the document; of how many is not known where its pieces were packed."""
    piece, packed = shown.piece, (shown.origin or {}).get(FIRST)
    first = piece.first + (packed or 0)
    whole = "" if piece.length is None or packed is not None else f" of {piece.length:,}"
    return f"{first:,} to {first + piece.tokens - 1:,}{whole}"


def _share(served: Served, numbers: Indices, rank: int, ranks: int) -> Indices:
    """What a data rank is fed, by the loader's own rule."""
    size = served.run.batch.micro_batch_size
    return np.concatenate([numbers[mine] for mine in micro_batch_slices(len(numbers), size, rank, ranks)])


def _layout(served: Served, processes: int | None) -> Layout:
    if processes is not None:
        return layout_of(served.run.parallel, processes)
    if not served.states:
        rule = f"{served.name} has no checkpoint that says how many processes there are"
        raise ConfigError.of("processes", None, rule, "give --processes")
    saved = served.states[0].layout
    return Layout(saved["pipe"], saved["data"], saved["tensor"])
