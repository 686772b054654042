"""The schema of training a tokenizer."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pretrain.config.section import Section
from pretrain.config.units import Bytes, Count

Algorithm = Literal["byte-bpe", "sentencepiece-bpe", "sentencepiece-unigram"]
RESERVED = ("<|endoftext|>", "<unk>")
"""Special tokens that are there anyway."""


class TokenizerTraining(Section):
    """How a tokenizer is learned from text."""

    vocab_size: Count = Field(ge=512)
    """Entries: 256 bytes, what is learned, <|endoftext|> and the other special tokens."""
    sample: Bytes = Field(200_000_000, ge=1)
    """Bytes of text to learn from, held in memory. In a recipe they are chosen by hash from the training documents."""
    algorithm: Algorithm = "byte-bpe"
    """byte-bpe: merges of bytes inside words (GPT-2). sentencepiece-bpe: of characters, rare ones in bytes (LLaMA).
    sentencepiece-unigram: the pieces that make the text likeliest (Kudo 2018), rare characters in bytes."""
    special_tokens: tuple[str, ...] = ()
    """More special tokens, such as <|pad|>: they have an id, and no text is ever cut into them."""
    character_coverage: float = Field(0.9995, gt=0, le=1)
    """SentencePiece: the share of the sample's characters that are pieces; the rarest are spelled in bytes."""
    split_digits: bool = False
    """SentencePiece: every digit is a piece of its own, as in LLaMA."""

    @field_validator("special_tokens")
    @classmethod
    def _names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name in RESERVED or names.count(name) > 1:
                raise ValueError(f"has {name} twice ({', '.join(RESERVED)} are there anyway); fix: leave it out")
            if re.fullmatch("<0x[0-9A-F]{2}>", name):
                raise ValueError(f"has {name}, which SentencePiece gives to a byte; fix: such as <|pad|>")
            if len(name) < 2 or name != "".join(name.split()):
                raise ValueError(f"has {name!r}; a name has two characters or more, no spaces; fix: such as <|pad|>")
        return names

    @model_validator(mode="after")
    def _of_algorithm(self) -> Self:
        for name in ("character_coverage", "split_digits"):
            if self.algorithm == "byte-bpe" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is for sentencepiece algorithms, this is byte-bpe; fix: remove {name}")
        return self

    def options(self) -> dict[str, Any]:
        """Arguments of tokenizer.train_tokenizer, besides the texts."""
        return self.model_dump(exclude={"sample"})

    def content(self) -> dict[str, Any]:
        """What decides the result. Defaults of fields that came later are left out: corpora from before stay valid."""
        return {**self.model_dump(mode="json", exclude_defaults=True), "sample": self.sample}
