"""Several tokenizers on the same texts: how long their sequences are, and how fast they make them."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tokenizer.interface import Tokenizer

BYTE = re.compile(r"<0x[89A-F][0-9A-F]>")
"""Of those below, each is a whole character: line ends are written so."""


@dataclass(frozen=True)
class Measured:
    """One tokenizer on the texts of one source."""

    tokens: int
    bytes: int
    words: int
    """What stands between spaces."""
    fallback: int
    """Tokens that are a part of a character that has no piece, or unknown."""
    seconds: float
    """Of processor time, for encoding."""

    @property
    def bytes_per_token(self) -> float:
        """More is a shorter sequence of the same text."""
        return self.bytes / max(1, self.tokens)

    @property
    def tokens_per_word(self) -> float:
        """Fertility (Rust et al. 2021)."""
        return self.tokens / max(1, self.words)

    @property
    def fallback_share(self) -> float:
        """Of the tokens."""
        return self.fallback / max(1, self.tokens)

    @property
    def megabytes_per_second(self) -> float:
        """Of one core."""
        return self.bytes / 1e6 / max(self.seconds, 1e-9)


def compare(tokenizers: Sequence[Tokenizer], texts: Mapping[str, Sequence[str]]) -> list[dict[str, Measured]]:
    """For each tokenizer what it makes of each source, and of `all` together where there are several."""
    rows = []
    for tokenizer in tokenizers:
        _ = tokenizer.backend  # chosen and warm before the clock runs
        row = {name: measure(tokenizer, of) for name, of in texts.items()}
        rows.append({**row, "all": _sum(list(row.values()))} if len(row) > 1 else row)
    return rows


def measure(tokenizer: Tokenizer, texts: Sequence[str]) -> Measured:
    """One tokenizer on some texts."""
    started = time.process_time()
    tokens, _ = tokenizer.encode_batch(list(texts))
    seconds = time.process_time() - started
    size, words = sum(len(text.encode()) for text in texts), sum(len(text.split()) for text in texts)
    counts = np.bincount(tokens, minlength=tokenizer.vocab_size)
    return Measured(len(tokens), size, words, int(counts[_fallback(tokenizer)].sum()), seconds)


def _fallback(tokenizer: Tokenizer) -> list[int]:
    """Ids of bytes and of the unknown piece; in byte-level BPE of the bytes that are no character by themselves."""
    model = tokenizer.specification["model"]
    unknown = model.get("unk_id", model.get("unk_token"))
    pieces = ((token, tokenizer.piece(token)) for token in range(tokenizer.vocab_size))
    if not model.get("byte_fallback"):
        return [token for token, piece in pieces if len(piece) == 1 and tokenizer.decode([token]) == "\ufffd"]
    return [token for token, piece in pieces if BYTE.fullmatch(piece) or unknown in (token, piece)]


def _sum(parts: Sequence[Measured]) -> Measured:
    fields = ("tokens", "bytes", "words", "fallback", "seconds")
    return Measured(**{name: sum(getattr(part, name) for part in parts) for name in fields})
