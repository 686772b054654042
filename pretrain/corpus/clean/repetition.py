"""Gopher's rules of repetition (Rae et al. 2021, section A1.1 and Table A1). A word is what stands between spaces."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Self

import numpy as np
import numpy.typing as npt

from pretrain.config.clean import GopherRepetition
from pretrain.corpus.clean import Dropped, Rule

PARAGRAPHS = re.compile(r"\n\s*\n")
Numbers = npt.NDArray[np.int64]


def gopher_repetition(config: GopherRepetition) -> Rule:
    """Drops documents that repeat themselves; changes nothing."""

    def rule(text: str) -> str | Dropped:
        reason = _parts(text, config) or _ngrams(text, config)
        return Dropped(reason) if reason else text

    return rule


def _parts(text: str, config: GopherRepetition) -> str:
    for name, parts, most, most_characters in (
        ("paragraphs", PARAGRAPHS.split(text.strip()), config.paragraphs, config.paragraph_characters),
        ("lines", text.split("\n"), config.lines, config.line_characters),
    ):
        parts = [part for part in parts if part]
        number, characters = _again(parts)
        if number > most * len(parts):
            return name
        if characters > most_characters * len(text):
            return f"{name[:-1]}_characters"
    return ""


def _again(parts: Sequence[str]) -> tuple[int, int]:
    """How many parts stood before, and their characters."""
    unique = set(parts)
    return len(parts) - len(unique), sum(map(len, parts)) - sum(map(len, unique))


@dataclass(frozen=True)
class Repeats:
    """The n-grams of one length that stand more than once: longer ones that do are made of them."""

    places: Numbers
    """The words at which they begin, ascending."""
    numbers: Numbers
    """Which n-gram stands there; the same in two places means the same words."""
    counts: Numbers
    """Number of an n-gram -> its places."""
    again: Numbers
    """Those of the places that are not the first of their n-gram."""

    @classmethod
    def of_words(cls, numbers: Numbers) -> Self:
        """Words, which are numbered already; nobody asks which come again."""
        counts = np.bincount(numbers)
        places = np.flatnonzero(counts[numbers] > 1)
        return cls(places, numbers[places], counts, places[:0])

    @classmethod
    def find(cls, places: Numbers, keys: Numbers) -> Self:
        """Of the n-grams at `places` those whose key is not the only one."""
        order = keys.argsort(kind="stable")
        ordered = keys[order]
        begins = np.ones(len(keys), bool)
        np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
        numbers, first = np.empty_like(order), np.empty_like(begins)
        numbers[order], first[order] = begins.cumsum() - 1, begins
        counts = np.bincount(numbers)
        twice = counts[numbers] > 1
        return cls(places[twice], numbers[twice], counts, places[~first])

    def longer(self) -> Self:
        """Those of one word more: an n-gram and the one that begins a word later."""
        both = np.flatnonzero(self.places[1:] - self.places[:-1] == 1)
        return self.find(self.places[both], self.numbers[both] * len(self.counts) + self.numbers[both + 1])


def _ngrams(text: str, config: GopherRepetition) -> str:
    words = text.split()
    number = defaultdict[str, int](count().__next__).__getitem__
    numbers = np.fromiter(map(number, words), np.int64, len(words))
    ends = np.concatenate(([0], np.cumsum(np.fromiter(map(len, words), np.int64, len(words)))))
    repeats = Repeats.of_words(numbers)
    for size in range(2, max([*config.top_ngrams, *config.repeated_ngrams], default=1) + 1):
        repeats = repeats.longer()
        if not len(repeats.places):
            break
        if _top(repeats, ends, size) > config.top_ngrams.get(size, inf) * len(text):
            return f"top_ngrams.{size}"
        if _repeated(repeats, ends, size) > config.repeated_ngrams.get(size, inf) * len(text):
            return f"repeated_ngrams.{size}"
    return ""


def _top(repeats: Repeats, ends: Numbers, size: int) -> int:
    """Characters, spaces between words included, in all places of the n-gram that stands most often."""
    most = int(repeats.counts.max())
    # of those that stand equally often the longest
    often = repeats.places[repeats.counts[repeats.numbers] == most]
    return (int((ends[often + size] - ends[often]).max()) + size - 1) * most


def _repeated(repeats: Repeats, ends: Numbers, size: int) -> int:
    """Characters of words in n-grams that stood before; each word counts once."""
    begin = repeats.again
    end = begin + size
    np.minimum(end[:-1], begin[1:], out=end[:-1])
    return int((ends[end] - ends[begin]).sum())
