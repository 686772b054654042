"""What a tokenizer makes of texts, in numbers that compare tokenizers of any kind."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from tokenizer.interface import Tokenizer
from tokenizer.specification import unknown_token

BATCH = 1 << 20
"""Characters that are encoded together."""


@dataclass(frozen=True)
class Measured:
    """Counts over some texts."""

    bytes: int = 0
    """Of UTF-8."""
    words: int = 0
    """Runs of what is not white space: what a Korean reader calls an eojeol."""
    tokens: int = 0
    partial: int = 0
    """Tokens that are no whole characters: bytes of one that has no piece, a part of one, or unknown."""
    seconds: float = 0.0
    """CPU time of encoding, on one thread."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def bytes_per_token(self) -> float:
        """The more, the fewer steps a model takes over a text."""
        return self.bytes / max(1, self.tokens)

    @property
    def tokens_per_word(self) -> float:
        """Fertility (Rust et al. 2021)."""
        return self.tokens / max(1, self.words)

    @property
    def partial_share(self) -> float:
        """Of all tokens."""
        return self.partial / max(1, self.tokens)

    @property
    def megabytes_per_second(self) -> float:
        """Of UTF-8, a second of CPU time."""
        return self.bytes / 1e6 / max(self.seconds, 1e-9)


def measure(tokenizer: Tokenizer, texts: Sequence[str]) -> Measured:
    """Encode texts once. What is loaded or tried out before the first encoding is not in the time."""
    _ = tokenizer.backend
    total, batch = Measured(), list[str]()
    for number, text in enumerate(texts, 1):
        batch.append(text)
        if number == len(texts) or sum(map(len, batch)) >= BATCH:
            total += _measure_batch(tokenizer, batch)
            batch = []
    return total


def _measure_batch(tokenizer: Tokenizer, texts: list[str]) -> Measured:
    started = time.process_time()
    tokens, _ = tokenizer.encode_batch(texts)
    seconds = time.process_time() - started
    size, words = sum(len(text.encode()) for text in texts), sum(len(text.split()) for text in texts)
    return Measured(size, words, len(tokens), _partial(tokenizer, tokens), seconds)


def _partial(tokenizer: Tokenizer, tokens: npt.NDArray[np.uint32]) -> int:
    ids, counts = np.unique(tokens, return_counts=True)
    unknown = unknown_token(tokenizer.specification)
    broken = [token == unknown or "\ufffd" in tokenizer.decode([token]) for token in ids.tolist()]
    return int(counts[broken].sum())
