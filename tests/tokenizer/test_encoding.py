"""Ids equal the reference library's, on ordinary and on hostile text."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokenizer import Tokenizer
from tokenizer.backends import ADVERSARIAL, Gigatoken, Reference, choose_backend, first_difference
from tokenizer.specification import Specification, plain_text_only

UNICODE = st.text(st.characters(exclude_categories=["Cs"]))
PIECES = st.lists(
    st.one_of(
        UNICODE,
        st.text("가나다라마바사한국어 \n", max_size=20),
        st.text("\x00\x01\x1b\x7f\x85\xa0\u2028\u3000\t\r\n ", max_size=20),
        st.text("abcABC'sSdlLtTmMrRvVeE  0123456789", max_size=30),
        st.builds(lambda letter, times: letter * times, st.characters(exclude_categories=["Cs"]), st.integers(1, 300)),
        st.sampled_from(["<|endoftext|>", "<|", "|>", "endoftext", "\u0301", "\u200d", "👩‍👩‍👧", "ﬁ"]),
    ),
    max_size=6,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=5))
@example([])
@example(["", "", ""])
@example(["<|endoftext|>"])
@example(["a" * 5000, " " * 5000])
def test_equals_the_reference(small: Tokenizer, texts: list[str]) -> None:
    tokens, lengths = small.encode_batch(texts)
    expected, expected_lengths = Reference(small.specification).encode_batch(texts)
    assert tokens.dtype == np.uint32 and lengths.dtype == np.int64
    assert tokens.tolist() == expected.tolist()
    assert lengths.tolist() == expected_lengths.tolist()


@settings(max_examples=200, deadline=None)
@given(PIECES)
def test_decodes_to_the_text(small: Tokenizer, text: str) -> None:
    assert small.decode(small.encode(text)) == text


@settings(max_examples=50, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=4))
def test_gpt2_equals_the_reference(gpt2: Tokenizer, texts: list[str]) -> None:
    reference = _reference(gpt2)
    assert gpt2.backend.name == "gigatoken"
    for got, want in zip(gpt2.encode_batch(texts), reference.encode_batch(texts), strict=True):
        assert got.tolist() == want.tolist()


def test_gpt2_known_ids(gpt2: Tokenizer) -> None:
    assert gpt2.encode("Hello world, 안녕") == [15496, 995, 11, 23821, 243, 230, 167, 227, 243]
    assert (gpt2.end_of_text, gpt2.vocab_size, gpt2.padded_size()) == (50256, 50257, 50304)


def test_special_strings_stay_text(small: Tokenizer) -> None:
    tokens = small.encode("one<|endoftext|>two")
    assert small.end_of_text not in tokens
    assert small.decode(tokens) == "one<|endoftext|>two"
    assert small.decode([small.end_of_text]) == "<|endoftext|>"


@pytest.mark.parametrize("backend", ["gigatoken", "tokenizers"])
def test_lone_surrogates_are_refused(small: Tokenizer, backend: str) -> None:
    kind = {"gigatoken": Gigatoken, "tokenizers": Reference}[backend]
    assert first_difference(kind(small.specification), _reference(small), ["fine \ud800 broken"]) is not None
    with pytest.raises(ValueError, match="lone surrogate"):
        small.encode("fine \ud800 broken")


def test_fast_backend_is_chosen_when_it_is_right(small: Tokenizer) -> None:
    assert small.backend.name == "gigatoken"
    assert small.backend_reason == "ids equal the reference's on 16 adversarial texts"
    assert len(ADVERSARIAL) == 15


def test_reference_is_used_for_what_gigatoken_refuses() -> None:
    backend, reason = choose_backend(_wordlevel())
    assert backend.name == "tokenizers"
    assert reason.startswith("gigatoken does not support this tokenizer")
    tokens, lengths = backend.encode_batch(["a b", "", "b"])
    assert (tokens.tolist(), lengths.tolist()) == ([0, 1, 1], [2, 0, 1])


def test_reference_is_used_when_ids_differ(small: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Gigatoken.encode_batch
    monkeypatch.setattr(
        Gigatoken, "encode_batch", lambda self, texts: (right(self, texts)[0] + 1, right(self, texts)[1])
    )
    backend, reason = choose_backend(small.specification)
    assert backend.name == "tokenizers"
    assert reason.startswith("gigatoken's ids differ from the reference's on \"Hello, world!")


def test_added_tokens_that_are_not_special_are_found_in_text(small: Tokenizer) -> None:
    added = {"id": 400, "content": "<tag>", "special": False, "normalized": False}
    added |= {"single_word": False, "lstrip": False, "rstrip": False}
    tagged = Tokenizer({**small.specification, "added_tokens": [*small.specification["added_tokens"], added]})
    assert tagged.vocab_size == 401
    assert tagged.encode("a<tag>b") == [*small.encode("a"), 400, *small.encode("b")]
    assert [token["content"] for token in plain_text_only(tagged.specification)["added_tokens"]] == ["<tag>"]


def _reference(tokenizer: Tokenizer) -> Reference:
    if not hasattr(tokenizer, "_kept"):
        tokenizer._kept = Reference(tokenizer.specification)  # type: ignore[attr-defined]
    return tokenizer._kept  # type: ignore[attr-defined, no-any-return]


def _wordlevel() -> Specification:
    model = {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "?": 2}, "unk_token": "?"}
    return {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model}
