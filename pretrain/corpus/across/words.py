"""Hashes of words and of n-grams of words, for many texts at once.

A word is what stands between spaces, in lower case and without punctuation (Brown et al. 2020, Appendix C). Hashes have
64 bits; they are the same on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

SPACE, PUNCTUATION, LETTER = 0, 1, 2
KINDS = np.full(256, LETTER, dtype=np.uint8)
KINDS[:128] = [SPACE if chr(b).isspace() else LETTER if chr(b).isalnum() else PUNCTUATION for b in range(128)]
LOWER = np.arange(256, dtype=np.uint8)
LOWER[65:91] += 32
FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that no power of it vanishes modulo 2**64."""
POWERS = np.cumprod(np.full(4096, FACTOR), dtype=np.uint64)
"""Longer words and texts wrap around: they are told apart well enough."""

UNEVEN = re.compile(
    "([\u0130\u023a\u023e\u1e9e\u2126\u212a\u212b\u2c62\u2c64\u2c6d\u2c6e\u2c6f\u2c70"
    "\u2c7e\u2c7f\ua78d\ua7aa\ua7ab\ua7ac\ua7ad\ua7ae\ua7b0\ua7b1\ua7b2\ua7c5])"
)
"""Letters that have another number of bytes in lower case, such as the sign of ohm and the Turkish I with a dot."""


@dataclass(frozen=True)
class Words:
    """The words of some texts, back to back. W words."""

    hashes: Hashes
    """[W]"""
    text: Numbers
    """[W] which text each is of, ascending."""
    first: Numbers
    """[W] its first byte in the text."""
    stop: Numbers
    """[W] the byte after its last."""
    texts: int
    """How many texts there are; some may have no word."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> Words:
        """Split and hash. Memory: about 40 bytes a byte of text, so give a few MB at a time."""
        encoded = [_lower(text) for text in texts]
        sizes = np.array([len(raw) + 1 for raw in encoded], dtype=np.int64)
        ends = np.cumsum(sizes)
        raw = np.frombuffer(b" ".join([*encoded, b""]), dtype=np.uint8)
        kinds = _kinds(raw)
        letters = np.flatnonzero(kinds == LETTER)
        if not len(letters):
            nothing = np.zeros(0, dtype=np.int64)
            return cls(nothing.astype(np.uint64), nothing, nothing, nothing, len(texts))
        solid = kinds[kinds != PUNCTUATION] == LETTER
        first_of_word = solid & ~np.concatenate([[False], solid[:-1]])
        starts = np.flatnonzero(first_of_word[solid])
        lengths = np.diff(starts, append=len(letters))
        hashes = mixed(_sums(LOWER[raw[letters]], starts, lengths))
        first, last = letters[starts], letters[starts + lengths - 1]
        text = np.searchsorted(ends, first, side="right")
        offset = (ends - sizes)[text]
        return cls(hashes, text, first - offset, last + 1 - offset, len(texts))

    def ngrams(self, n: int) -> tuple[Hashes, Numbers]:
        """([G], [G]): the hash and the first word of every run of n words of one text."""
        count = len(self.hashes) - n + 1
        if count <= 0:
            return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
        total = np.zeros(count, dtype=np.uint64)
        for place in range(n):
            total += self.hashes[place : place + count] * POWERS[place]
        inside = np.flatnonzero(self.text[:count] == self.text[n - 1 :])
        return mixed(total[inside]), inside

    @cached_property
    def counts(self) -> Numbers:
        """[texts] words of each text."""
        return np.bincount(self.text, minlength=self.texts)

    def of_texts(self) -> Hashes:
        """[texts] one hash over all words of each text; 0 where there is none."""
        hashes = np.zeros(self.texts, dtype=np.uint64)
        some = self.counts > 0
        starts = (np.cumsum(self.counts) - self.counts)[some]
        if len(starts):
            hashes[some] = mixed(_sums(self.hashes, starts, self.counts[some]))
        return hashes


def _lower(text: str) -> bytes:
    """In lower case, every byte in its place: UNEVEN letters stay as they are, ASCII is lowered later."""
    if text.isascii():
        return text.encode()
    parts = UNEVEN.split(text)  # every second one is such a letter
    parts[::2] = map(str.lower, parts[::2])
    return "".join(parts).encode()


def _kinds(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """[bytes] of SPACE, PUNCTUATION, LETTER; the general and the CJK punctuation of Unicode included."""
    kinds = KINDS[raw]
    for lead, seconds in ((0xE2, (0x80, 0x81)), (0xE3, (0x80,))):
        found = np.flatnonzero(raw[:-2] == lead)
        found = found[np.isin(raw[found + 1], seconds)]
        kinds[found[:, None] + np.arange(3)] = PUNCTUATION
    return kinds


def _sums(values: npt.NDArray[Any], starts: Numbers, lengths: Numbers) -> Hashes:
    """[segments] a polynomial of the values of each segment [start, start + length)."""
    place = np.arange(len(values), dtype=np.int32)
    place -= np.repeat(starts.astype(np.int32), lengths)
    place &= len(POWERS) - 1
    factors = POWERS[place]
    factors *= values.astype(np.uint64) + np.uint64(1)
    return np.add.reduceat(factors, starts)


def mixed(values: Hashes) -> Hashes:
    """Spread over all bits (the finalizer of MurmurHash3)."""
    spread = values ^ (values >> np.uint64(33))
    spread *= np.uint64(0xFF51AFD7ED558CCD)
    spread ^= spread >> np.uint64(33)
    spread *= np.uint64(0xC4CEB9FE1A85EC53)
    spread ^= spread >> np.uint64(33)
    return spread
