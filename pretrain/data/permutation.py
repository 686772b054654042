"""A keyed permutation of 0 .. size-1 that is computed, not stored: O(1) memory at any size.

A Feistel network (Luby & Rackoff 1988) permutes the smallest power of two that holds `size`; indices that land outside
walk on along their cycle until they are inside (Black & Rogaway 2002), at most two network passes on average.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

ROUNDS = 10
"""Even, so that both halves end where they began."""
SMALLEST = 17
"""Below this many elements so few Feistel keys differ that an explicit shuffle is used."""


def permute(index: Indices, size: int, key: bytes) -> Indices:
    """Where each of `index` [n] goes in the permutation of 0 .. size-1 that `key` names.

    Raises ValueError when an index is outside.
    """
    _inside(index, size)
    return _shuffled(size, key)[index] if size < SMALLEST else _walk(index, size, key, _feistel)


def restore(image: Indices, size: int, key: bytes) -> Indices:
    """What `permute` sent to each of `image` [n]: its inverse. Raises ValueError when one is outside."""
    _inside(image, size)
    return np.argsort(_shuffled(size, key))[image] if size < SMALLEST else _walk(image, size, key, _feistel_back)


def _inside(index: Indices, size: int) -> None:
    if index.size and (index.min() < 0 or index.max() >= size):
        raise ValueError(f"indices must be in [0, {size})")


def _walk(index: Indices, size: int, key: bytes, network: Callable[[Words, int, Words], Words]) -> Indices:
    """Through the network, and again where that led outside."""
    words, bits = _words(key), (size - 1).bit_length()
    value = network(index.astype(np.uint64), bits, words)
    outside = np.flatnonzero(value >= size)
    while outside.size:
        value[outside] = network(value[outside], bits, words)
        outside = outside[value[outside] >= size]
    return value.astype(np.int64)


def _shuffled(size: int, key: bytes) -> Indices:
    """All of 0 .. size-1 in the order of their hashes; unlike numpy's shuffles it never changes between versions."""
    return np.array(sorted(range(size), key=lambda n: hashlib.sha256(key + bytes([n])).digest()), dtype=np.int64)


def _words(key: bytes) -> Words:
    """ROUNDS keys of 64 bits."""
    return np.frombuffer(hashlib.shake_256(key).digest(8 * ROUNDS), dtype="<u8").astype(np.uint64)


def _feistel(value: Words, bits: int, words: Words) -> Words:
    """One pass over [0, 2^bits). With odd `bits` the halves differ by one bit and change places every round."""
    left_bits, right_bits = bits // 2, bits - bits // 2
    left = value >> np.uint64(right_bits)
    right = value & _mask(right_bits)
    for word in words:
        left, right = right, left ^ (_mix(right ^ word) & _mask(left_bits))
        left_bits, right_bits = right_bits, left_bits
    return (left << np.uint64(right_bits)) | right


def _feistel_back(value: Words, bits: int, words: Words) -> Words:
    """The inverse of `_feistel`. Its number of rounds is even: the halves have their first widths again."""
    left_bits, right_bits = bits // 2, bits - bits // 2
    left = value >> np.uint64(right_bits)
    right = value & _mask(right_bits)
    for word in words[::-1]:
        left_bits, right_bits = right_bits, left_bits
        left, right = right ^ (_mix(left ^ word) & _mask(left_bits)), left
    return (left << np.uint64(right_bits)) | right


def _mask(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def _mix(word: Words) -> Words:
    """The finaliser of SplitMix64 (Steele et al. 2014): every input bit reaches every output bit."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
