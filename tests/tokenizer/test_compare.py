"""Tokenizers compared: numbers counted by hand."""

from __future__ import annotations

import pytest

from tests.tokenizer.conftest import SENTENCES
from tokenizer import Learning, Tokenizer, train_tokenizer
from tokenizer.compare import compare, measure


def test_byte_level(small: Tokenizer) -> None:
    text = "ß ß"  # no piece of the vocabulary: two bytes each, and a space between
    measured = measure(small, [text])
    assert (measured.bytes, measured.words) == (5, 2)
    assert measured.tokens == len(small.encode(text))
    assert measured.bytes_per_token == pytest.approx(5 / measured.tokens)
    assert measured.tokens_per_word == pytest.approx(measured.tokens / 2)
    assert measured.fallback == sum(small.decode([token]) == "\ufffd" for token in small.encode(text)) > 0


def test_sentencepiece_counts_its_bytes() -> None:
    tokenizer = train_tokenizer(SENTENCES, 420, Learning("unigram"))
    measured = measure(tokenizer, ["ßß"])
    assert (measured.tokens, measured.fallback, measured.fallback_share) == (4, 4, 1.0)


def test_all_is_the_sum_of_the_sources(small: Tokenizer) -> None:
    (row,) = compare([small], {"a": SENTENCES[:3], "b": SENTENCES[3:5]})
    assert row["all"].tokens == row["a"].tokens + row["b"].tokens
    assert row["all"].bytes == sum(len(text.encode()) for text in SENTENCES[:5])
    assert list(compare([small], {"a": SENTENCES[:3]})[0]) == ["a"]
