"""N-gram language models: interpolated Kneser-Ney smoothing (Kneser and Ney 1995; Chen and Goodman 1999, section 2.7).

A model is a trie in sorted arrays. An n-gram is known by its place among those of its length; its key is made of the
place of its first n - 1 tokens and of its last token. So one look-up a length finds each token's longest known n-gram,
for a whole document at once, and nothing is approximate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pretrain.corpus.quality.lookup import UNKNOWN, Keys, Places, SortedKeys, spread

Tokens = npt.NDArray[np.integer]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
NONE: Floats = np.empty(0, np.float32)


@dataclass(frozen=True)
class Level:
    """The n-grams of one length, by key. Probabilities are natural logarithms."""

    keys: SortedKeys
    """None for single tokens, whose places are their ids."""
    probability: Floats
    """Of the last token after the others, shorter n-grams interpolated."""
    backoff: Floats
    """[n-grams + 1] share of what follows this n-gram that shorter ones give; 0 at the end, for UNKNOWN."""


@dataclass(frozen=True)
class Ngrams:
    """A language model over token ids below `vocabulary`; `start` stands before every document and is not predicted."""

    vocabulary: int
    start: int
    levels: tuple[Level, ...]
    """By length, from 1."""

    def log_probabilities(self, tokens: Tokens) -> Floats:
        """[T] natural logarithm of the probability of each token of a document after those before it."""
        history = np.concatenate([[self.start], tokens]).astype(np.int64)
        last, before = history[1:], history[:-1]
        probability = self.levels[0].probability[last]
        for shorter, level in zip(self.levels, self.levels[1:], strict=False):
            probability += shorter.backoff[before]
            alive = np.flatnonzero(before != UNKNOWN)
            found = level.keys.find(_keys(before[alive], last[alive], self.vocabulary))
            known = found != UNKNOWN
            probability[alive[known]] = level.probability[found[known]]
            before = np.full(len(tokens) + 1, UNKNOWN)
            before[alive + 1] = found
            before = before[:-1]
        return probability


def estimate(documents: Sequence[Tokens], vocabulary: int, start: int, minimum: Sequence[int]) -> Ngrams:
    """A model of n-grams up to length len(minimum), of those that stand at least minimum[n - 1] times.

    `minimum` begins with 1 and never falls. The mass of n-grams that are left out goes to shorter ones, so the
    probabilities of all tokens after any history sum to 1. Continuations are counted before anything is left out,
    discounts among the n-grams whose first n - 1 tokens are held.
    """
    marked = [part for document in documents for part in (np.array([start]), document)]
    text = _Text(np.concatenate(marked).astype(np.int64), vocabulary, start)
    levels = [text.single()]
    for length, least in enumerate(minimum[1:], 2):
        backoff, level = text.longer(length, least, longest=length == len(minimum))
        levels[-1] = replace(levels[-1], backoff=backoff)
        levels.append(level)
    return Ngrams(vocabulary, start, tuple(levels))


class _Text:
    """The training text, and for each position the place of the n-gram that ends there, length by length."""

    def __init__(self, tokens: Ints, vocabulary: int, start: int) -> None:
        self.tokens, self.vocabulary = tokens, vocabulary
        self.predicted = tokens != start
        self.places: Places = tokens
        self.probability: Doubles = np.full(vocabulary, 1 / vocabulary)
        self.begins = np.arange(vocabulary) == start
        """Of each n-gram, whether it begins a document."""

    def single(self) -> Level:
        """Single tokens, interpolated with equal shares for all."""
        ends = np.flatnonzero(self.predicted)
        count = self._continuations(1, ends, self.tokens[ends], self.vocabulary)
        own = np.maximum(count - _discount(count), 0) / max(count.sum(), 1)
        self.probability = own + (1 - own.sum()) * self.probability
        return Level(SortedKeys(np.empty(0, np.uint64)), _log(self.probability), NONE)

    def longer(self, length: int, least: int, longest: bool) -> tuple[Floats, Level]:
        """The backoff of the n-grams one shorter, and those of this length."""
        before = np.concatenate([[UNKNOWN], self.places[:-1]])
        ends = np.flatnonzero((before != UNKNOWN) & self.predicted)
        made = _keys(before[ends], self.tokens[ends], self.vocabulary)
        keys, first, which, raw = np.unique(made, return_index=True, return_inverse=True, return_counts=True)
        prefix, suffix, count = before[ends[first]], self.places[ends[first]], raw
        if not longest:  # nothing stands before what begins a document
            continuations = self._continuations(length, ends, which, len(keys))
            count = np.where(self.begins[prefix], raw, continuations)
        contexts, kept = len(self.probability), raw >= least
        total = np.bincount(prefix, count, contexts)
        own = np.maximum(count - _discount(count), 0) / np.maximum(total[prefix], 1)
        prefix, suffix, own = prefix[kept], suffix[kept], own[kept]
        left: Doubles = 1 - np.bincount(prefix, own, contexts).astype(np.float64)
        self.probability = own + left[prefix] * self.probability[suffix]
        self.begins = self.begins[prefix]
        self.places = np.full(len(self.tokens), UNKNOWN)
        self.places[ends] = np.where(kept, np.cumsum(kept) - 1, UNKNOWN)[which]
        backoff = np.append(_log(left), np.float32(0))
        return backoff, Level(SortedKeys(keys[kept]), _log(self.probability), NONE)

    def _continuations(self, length: int, ends: Ints, which: Ints, number: int) -> Ints:
        """[number] different tokens that stand before each n-gram; `which` n-gram ends at each of `ends`."""
        pairs = np.unique(which * self.vocabulary + self.tokens[ends - length])
        return np.bincount(pairs // self.vocabulary, minlength=number)


def _keys(before: Places, last: Ints, vocabulary: int) -> Keys:
    return spread(before * vocabulary + last)


def _discount(count: Ints) -> float:
    """Ney, Essen and Kneser's (1994), within bounds: where counts are few or odd, something is left for the unseen."""
    once, twice = int(np.sum(count == 1)), int(np.sum(count == 2))
    return min(max(once / max(once + 2 * twice, 1), 0.1), 0.9)


def _log(share: Doubles) -> Floats:
    return np.log(share).astype(np.float32)
