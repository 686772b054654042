"""What is counted when tokenizers are compared."""

import pytest

from tests.tokenizer.conftest import SENTENCES
from tokenizer import Tokenizer, train_tokenizer
from tokenizer.measure import Measured, measure


def test_sums_and_ratios() -> None:
    total = Measured(30, 4, 10, 1, 0.5) + Measured(10, 1, 10, 4, 1.5)
    assert total == Measured(40, 5, 20, 5, 2.0)
    assert (total.bytes_per_token, total.tokens_per_word, total.partial_share) == (2.0, 4.0, 0.25)
    assert Measured(4_000_000, 1, 1, 0, 2.0).megabytes_per_second == 2.0
    assert (Measured().bytes_per_token, Measured().tokens_per_word) == (0.0, 0.0)


def test_counts(small: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["The quick foxes\n\n", "", "서울 of  autumn", "x" * 50]
    one = measure(small, texts)
    assert (one.bytes, one.words) == (17 + 0 + 17 + 50, 3 + 0 + 3 + 1)
    assert one.tokens == sum(len(small.encode(text)) for text in texts)
    monkeypatch.setattr("tokenizer.measure.BATCH", 3)
    again = measure(small, texts)
    assert (again.bytes, again.words, again.tokens, again.partial) == (one.bytes, one.words, one.tokens, one.partial)
    assert one.seconds > 0 and measure(small, []) == Measured()


def test_tokens_that_are_no_whole_characters(small: Tokenizer) -> None:
    """The snowman (E2 98 83) was not in the text: its bytes are left, in one way or the other."""
    assert measure(small, ["a☃b\n"]).partial == 3
    fallback = train_tokenizer(SENTENCES, 400, algorithm="sentencepiece-bpe")
    assert measure(fallback, ["a☃b\n"]).partial == 3  # the end of a line is a byte as well, and a whole character


def test_unknown_tokens_count() -> None:
    model = {"type": "WordLevel", "vocab": {"a": 0, "?": 1}, "unk_token": "?"}
    words = Tokenizer({"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model})
    assert measure(words, ["a b a c"]).partial == 2
