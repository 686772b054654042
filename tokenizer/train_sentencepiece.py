"""Train a SentencePiece model: BPE, or unigram (Kudo 2018), with bytes for the characters that have no piece.

What is chosen, and why. The text comes back as it was, so nothing is normalised: rule `identity`, no space is added
before a text, none is taken away. Runs of spaces are pieces, for code. Byte fallback, so that no text is unknown. These
are LLaMA's settings (Touvron et al. 2023, section 2.1) but for its added space, which decoding has to guess away.
Learned from lines: an end of a line is never part of a piece, and becomes its byte.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from pretrain.config.errors import ConfigError
from tokenizer.sentencepieces import SentencePieceTokenizer
from tokenizer.specification import END_OF_TEXT

SUMS = 16
"""Partial sums of unigram's expectations. The trainer calls them threads: their number is part of the result, how many
run at the same time is not."""


def train_sentencepiece(
    texts: Sequence[str],
    vocab_size: int,
    kind: str,
    special_tokens: Sequence[str] = (),
    character_coverage: float = 0.9995,
    split_digits: bool = False,
) -> SentencePieceTokenizer:
    """`vocab_size` entries: <unk>, <|endoftext|>, the other special tokens, 256 bytes, pieces. `kind`: bpe or unigram.

    Raises ConfigError when the text does not fit the vocabulary: too few pieces, or more characters than entries.
    """
    import sentencepiece

    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts),
            model_writer=written,
            model_type=kind,
            vocab_size=vocab_size,
            character_coverage=character_coverage,
            split_digits=split_digits,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            max_sentence_length=2**30,  # longer lines would be left out
            unk_id=0,
            eos_id=1,
            eos_piece=END_OF_TEXT,
            bos_id=-1,
            pad_id=-1,
            control_symbols=list(special_tokens),
            num_threads=SUMS,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).rpartition("] ")[2].strip() or str(error)
        fix = "take another vocab_size or a smaller character_coverage, or give more text"
        raise ConfigError.of("vocab_size", vocab_size, f"does not fit the text ({reason})", fix) from None
    return SentencePieceTokenizer(written.getvalue())


def _lines(texts: Sequence[str]) -> Iterator[str]:
    return (line for text in texts for line in text.split("\n") if line)
