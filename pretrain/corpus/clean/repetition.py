"""Gopher's rules of repetition (Rae et al. 2021, section A1.1 and Table A1). A word is what stands between spaces."""

from __future__ import annotations

import re
from collections.abc import Sequence

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


def _ngrams(text: str, config: GopherRepetition) -> str:
    words = text.split()
    known: dict[str, int] = {}
    numbers = np.array([known.setdefault(word, len(known)) for word in words], dtype=np.int64)
    ends = np.concatenate([[0], np.cumsum(np.fromiter(map(len, words), np.int64, len(words)))])
    grams = numbers
    for size in range(2, max([*config.top_ngrams, *config.repeated_ngrams], default=1) + 1):
        if size > len(words):
            break
        grams = _longer(grams, numbers, size)
        characters = ends[size:] - ends[:-size]
        if (most := config.top_ngrams.get(size)) is not None and _top(grams, characters, size) > most * len(text):
            return f"top_ngrams.{size}"
        if (most := config.repeated_ngrams.get(size)) is not None and _repeated(grams, ends, size) > most * len(text):
            return f"repeated_ngrams.{size}"
    return ""


def _longer(grams: Numbers, numbers: Numbers, size: int) -> Numbers:
    """Numbers of the n-grams, equal where they are: from those one word shorter and the words after them."""
    pairs: Numbers = grams[: len(numbers) - size + 1] * (int(numbers.max()) + 1) + numbers[size - 1 :]
    _, numbered = np.unique(pairs, return_inverse=True)
    longer: Numbers = numbered.astype(np.int64)
    return longer


def _top(grams: Numbers, characters: Numbers, size: int) -> int:
    """Characters, spaces between words included, in all places of the n-gram that stands most often, if twice."""
    counts = np.bincount(grams)
    most = int(counts.max())
    if most < 2:
        return 0
    # of those that stand equally often the longest
    often = counts[grams] == most
    return (int(characters[often].max()) + size - 1) * most


def _repeated(grams: Numbers, ends: Numbers, size: int) -> int:
    """Characters of words in n-grams that stood before; each word counts once."""
    first = np.full(int(grams.max()) + 1, len(grams), dtype=np.int64)
    np.minimum.at(first, grams, np.arange(len(grams)))
    again = np.flatnonzero(first[grams] < np.arange(len(grams)))
    covered = np.zeros(len(grams) + size, dtype=np.int64)
    np.add.at(covered, again, 1)
    np.subtract.at(covered, again + size, 1)
    inside = np.cumsum(covered)[: len(grams) + size - 1] > 0
    return int(np.diff(ends)[inside].sum())
