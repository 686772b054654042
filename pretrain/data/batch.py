"""What a model is fed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]


class Cost(NamedTuple):
    """What reading took on this rank."""

    bytes: int
    requests: int


NOTHING = Cost(0, 0)
"""Of what another rank read."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one micro-batch on one rank. B samples, T tokens to predict each."""

    tokens: Tokens
    """[B, T+1] token ids; inputs are [:, :-1], what they predict is [:, 1:]."""
    source: npt.NDArray[np.int64]
    """[B] index of each sample's source."""
    document: npt.NDArray[np.int32] | None
    """[B, T] number of the document each input belongs to, counted inside the sample; None: no document mask."""
    is_target: npt.NDArray[np.bool_]
    """[B, T] whether what input t predicts counts; not across the end of a document when documents are masked."""
    cost: Cost = NOTHING
    """Of batches that were read together the first has all of it."""

    @property
    def target_tokens(self) -> int:
        """Tokens whose loss counts."""
        return int(self.is_target.sum())


def make_batch(
    tokens: Tokens,
    source: npt.NDArray[np.int64],
    document_end: int | None = None,
    padding: int | None = None,
    cost: Cost = NOTHING,
) -> Batch:
    """A batch of tokens [B, T+1]. With `document_end`, the end-of-text id, documents are told apart; with `padding`,
    the same id, samples may end in more than one of it, and those after the first do not count.
    """
    if document_end is None:
        is_target = np.ones((len(tokens), tokens.shape[1] - 1), dtype=np.bool_)
        if padding is not None:
            is_target[(tokens[:, :-1] == padding) & (tokens[:, 1:] == padding)] = False
        return Batch(tokens, source, None, is_target, cost)
    ends = tokens[:, :-1] == document_end
    document = np.zeros(ends.shape, dtype=np.int32)
    np.cumsum(ends[:, :-1], axis=1, out=document[:, 1:])  # the end-of-text token belongs to the document it ends
    return Batch(tokens, source, document, ~ends, cost)
