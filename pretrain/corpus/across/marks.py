"""Marks: what later stages compare, computed for each run while its texts are in memory.

lines     line_hashes [L], line_rows [L]         lines that stand in many documents
fuzzy     signature [n, K], bands [n, b]         nearly equal documents
hits      hits [h] of HIT                        n-grams of benchmarks
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pretrain.config.across import Decontamination, Fuzzy, Lines
from pretrain.corpus.across.contamination import hits
from pretrain.corpus.across.lines import line_marks
from pretrain.corpus.across.minhash import signatures
from pretrain.corpus.across.words import Words

TEXT = 2**18
"""Characters hashed at a time: what a processor's cache holds."""
Marks = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Wanted:
    """Which marks to leave."""

    lines: Lines | None = None
    fuzzy: Fuzzy | None = None
    decontaminate: Decontamination | None = None

    def of(self, texts: Sequence[str]) -> Marks:
        """The marks of a run, by name; rows are numbered as in `texts`."""
        if self == Wanted():
            return {}
        parts = [self._some(texts[start:stop], start) for start, stop in _slices(texts)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}

    def _some(self, texts: Sequence[str], start: int) -> Marks:
        found: Marks = line_marks(self.lines, texts, start) if self.lines else {}
        if self.fuzzy or self.decontaminate:
            words = Words.of(texts)
            if self.fuzzy:
                found |= signatures(self.fuzzy, words)
            if self.decontaminate:
                found |= hits(self.decontaminate, words, start)
        return found


def _slices(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    start = size = 0
    for row, text in enumerate(texts):
        if row > start and size + len(text) > TEXT:
            yield start, row
            start, size = row, 0
        size += len(text)
    if texts:
        yield start, len(texts)
