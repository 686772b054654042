"""MinHash signatures (Broder 1997) and their bands (Leskovec et al., "Mining of Massive Datasets", section 3.4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pretrain.config.across import Fuzzy
from pretrain.corpus.across.words import Hashes, Words, mixed

RECALL = 0.9
"""Share of the pairs at the threshold that bands must make candidates."""
ABSENT = np.uint32(2**32 - 1)
"""All hashes of a document without an n-gram."""


def signatures(config: Fuzzy, words: Words) -> dict[str, npt.NDArray[Any]]:
    """signature [texts, K] uint32 and bands [texts, b] uint64.

    Two signatures agree in a share of their hashes whose mean is the Jaccard similarity of the two sets of n-grams.
    """
    grams, first = words.ngrams(config.ngram)
    starts = np.flatnonzero(np.diff(words.text[first], prepend=-1))
    some = words.text[first][starts]
    signature = np.full((words.texts, config.hashes), ABSENT, dtype=np.uint32)
    shuffled = np.empty_like(grams)
    for column, factor in enumerate(_factors(config.hashes) if len(grams) else ()):
        np.multiply(grams, factor, out=shuffled)
        signature[some, column] = np.minimum.reduceat(shuffled, starts) >> np.uint64(32)
    return {"signature": signature, "bands": _bands(config, signature)}


def shape(config: Fuzzy) -> tuple[int, int]:
    """(bands, rows of each): as many rows as leave RECALL, since more rows make fewer candidates in vain.

    Of two documents with similarity s some band agrees with probability 1 - (1 - s**rows)**bands.
    """
    for rows in range(config.hashes, 0, -1):
        bands = config.hashes // rows
        if 1 - (1 - config.threshold**rows) ** bands >= RECALL:
            return bands, rows
    return config.hashes, 1


def absent(config: Fuzzy) -> Hashes:
    """[b] the bands of a document without an n-gram, which is nobody's duplicate."""
    nobody: Hashes = _bands(config, np.full((1, config.hashes), ABSENT, dtype=np.uint32))[0]
    return nobody


def _bands(config: Fuzzy, signature: npt.NDArray[np.uint32]) -> Hashes:
    bands, rows = shape(config)
    parts = signature[:, : bands * rows].reshape(len(signature), bands, rows).astype(np.uint64)
    total = np.zeros(parts.shape[:2], dtype=np.uint64)
    for row, factor in enumerate(_factors(rows)):
        total += mixed(parts[:, :, row] + np.uint64(row + 1)) * factor
    return mixed(total)


def _factors(count: int) -> Hashes:
    """[count] odd numbers; multiplying by one and taking the high bits is a hash (Dietzfelbinger et al. 1997)."""
    factors = mixed(np.arange(1, count + 1, dtype=np.uint64))
    factors |= np.uint64(1)
    return factors
