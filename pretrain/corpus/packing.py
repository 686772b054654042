"""Best-fit packing into bins of T+1 tokens (Ding et al. 2024, "Fewer Truncations Improve Language Modeling").

A document is cut only where it is longer than a bin; the pieces overlap by one token, so that every token but a
document's first is predicted once. Pieces go, longest first, where least room is left that still holds them; what stays
empty at the end of a bin is filled with end-of-text, which nothing predicts. A bin is a sample.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bins:
    """Pieces of documents in the order of their bins. n pieces, B bins."""

    document: Numbers
    """[n] which document each piece is of."""
    first: Numbers
    """[n] its first token inside the document."""
    tokens: Numbers
    """[n]"""
    bin: Numbers
    """[n] ascending, 0 .. B-1."""
    capacity: int
    """T+1."""

    @property
    def count(self) -> int:
        """B."""
        return int(self.bin[-1]) + 1 if len(self.bin) else 0

    @property
    def cut_documents(self) -> int:
        """Documents of more than one piece."""
        return len(np.unique(self.document[self.first > 0]))

    @property
    def padded_tokens(self) -> Numbers:
        """[n] tokens of each piece, with the padding of its bin where it is the last in it."""
        padded = self.tokens.copy()
        padded[np.flatnonzero(np.diff(self.bin, append=self.count))] += self.padding
        return padded

    @property
    def padding(self) -> Numbers:
        """[B] tokens that stay empty in each bin."""
        return self.capacity - np.bincount(self.bin, weights=self.tokens, minlength=self.count).astype(np.int64)


def pack(lengths: Numbers, sequence_length: int) -> Bins:
    """Bins for documents of `lengths` tokens [documents]. Bins, and pieces in them, stand in the order of documents.

    Memory: about 100 bytes a piece. The bins are those that placing one piece after another would give.
    """
    document, first, tokens = _cut(lengths, sequence_length)
    longest_first = np.argsort(-tokens, kind="stable")
    bins = np.empty(len(tokens), dtype=np.int64)
    bins[longest_first] = _best_fit(tokens[longest_first], sequence_length + 1)
    # by first document, so that bins are in no order of length
    earliest = np.full(int(bins.max(initial=-1)) + 1, len(tokens), dtype=np.int64)
    np.minimum.at(earliest, bins, np.arange(len(tokens)))
    bins = np.argsort(np.argsort(earliest))[bins]
    order = np.argsort(bins, kind="stable")
    return Bins(document[order], first[order], tokens[order], bins[order], sequence_length + 1)


def fill(bins: Bins, tokens: npt.NDArray[Any], lengths: Numbers, end_of_text: int) -> npt.NDArray[Any]:
    """[B * (T+1)] the tokens of all bins, from those of the documents, back to back."""
    starts = (np.cumsum(lengths) - lengths)[bins.document] + bins.first
    inside = np.cumsum(bins.tokens) - bins.tokens
    room = np.concatenate([[0], np.cumsum(bins.padding)])[bins.bin]  # padding of the bins before
    filled = np.full(bins.count * bins.capacity, end_of_text, dtype=tokens.dtype)
    within = np.arange(int(bins.tokens.sum()))
    filled[within + np.repeat(room, bins.tokens)] = tokens[within + np.repeat(starts - inside, bins.tokens)]
    return filled


def _cut(lengths: Numbers, sequence_length: int) -> tuple[Numbers, Numbers, Numbers]:
    """(document, first token, tokens) of all pieces: windows of T+1 tokens at stride T, the last one shorter."""
    pieces = np.maximum(1, -(-(lengths - 1) // sequence_length))
    document = np.repeat(np.arange(len(lengths)), pieces)
    number = np.arange(len(document)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    first = number * sequence_length
    return document, first, np.minimum(sequence_length + 1, lengths[document] - first)


def _best_fit(tokens: Numbers, capacity: int) -> Numbers:
    """[n] the bin of each piece, which are given longest first.

    All pieces of one length are placed together: the bin that fits best goes on doing so until it holds no more of
    them, since what is left of it only shrinks.
    """
    bins, opened = np.empty(len(tokens), dtype=np.int64), 0
    rooms, with_room = list[int](), dict[int, list[int]]()  # rooms: keys of the other, ascending
    for start, stop in pairwise([*np.flatnonzero(np.diff(tokens, prepend=-1)).tolist(), len(tokens)]):
        length, done = int(tokens[start]), start
        while done < stop:
            place = bisect_left(rooms, length)
            room = rooms[place] if place < len(rooms) else capacity
            each = room // length
            wanted = -(-(stop - done) // each)
            if place < len(rooms):
                chosen = with_room[room][-wanted:]
                del with_room[room][-wanted:]
                if not with_room[room]:
                    del with_room[room], rooms[place]
            else:
                chosen = list(range(opened, opened + wanted))
                opened += wanted
            here = min(stop - done, each * len(chosen))
            bins[done : done + here] = np.repeat(chosen, each)[:here]
            full, rest = divmod(here, each)
            for left, some in ((room - each * length, chosen[:full]), (room - rest * length, chosen[full:])):
                if left and some:
                    if left not in with_room:
                        insort(rooms, left)
                    with_room.setdefault(left, []).extend(some)
            done += here
    return bins
