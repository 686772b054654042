"""Train a tokenizer of one of three kinds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pretrain.config.errors import ConfigError
from tokenizer.byte_bpe import train_byte_bpe
from tokenizer.interface import Tokenizer
from tokenizer.train_sentencepiece import train_sentencepiece


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    *,
    algorithm: str = "byte-bpe",
    special_tokens: Sequence[str] = (),
    character_coverage: float = 0.9995,
    split_digits: bool = False,
) -> Tokenizer:
    """A tokenizer of `vocab_size` entries; the options are those of config.TokenizerTraining.

    Deterministic: the same texts give the same tokenizer on any number of cores. Holds all texts in memory.
    Raises ConfigError when text and vocabulary do not fit each other.
    """
    texts = [text for text in texts if text]
    if not texts:
        raise ConfigError.of("sample", "no text", "needs text to learn from", "give more text")
    if algorithm == "byte-bpe":
        return train_byte_bpe(texts, vocab_size, special_tokens)
    kind = algorithm.removeprefix("sentencepiece-")
    return train_sentencepiece(texts, vocab_size, kind, special_tokens, character_coverage, split_digits)
