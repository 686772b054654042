"""Training: deterministic, and the merges of the reference trainer."""

import json

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from pretrain.config.errors import ConfigError
from tests.tokenizer.conftest import SENTENCES
from tokenizer import Tokenizer, train_tokenizer
from tokenizer.byte_bpe import byte_spelling


def test_layout(small: Tokenizer) -> None:
    assert (small.vocab_size, small.end, small.end_of_text) == (400, "<|endoftext|>", 399)
    assert small.padded_size(128) == 512
    assert len(small.encode("The quick foxes of autumn")) < 10
    bytes_alone = [small.encode(chr(letter)) for letter in range(128)]
    assert all(len(tokens) == 1 and tokens[0] < 256 for tokens in bytes_alone)


def test_deterministic(small: Tokenizer) -> None:
    assert train_tokenizer(SENTENCES, 400).fingerprint == small.fingerprint == "49003988a4638775"


def test_merges_equal_the_reference_trainer(small: Tokenizer) -> None:
    reference = tokenizers.Tokenizer(models.BPE())
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    reference.train_from_iterator(SENTENCES, trainer)
    merges = Tokenizer(json.loads(reference.to_str())).specification["model"]["merges"]
    assert len(merges) == 400 - 257
    assert small.specification["model"]["merges"] == merges


def test_byte_spelling_is_gpt2s() -> None:
    spelling = byte_spelling()
    assert sorted(spelling.values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert (spelling[ord("a")], spelling[ord(" ")], spelling[ord("\n")], spelling[0xFF]) == ("a", "Ġ", "Ċ", "ÿ")


def test_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    train_tokenizer(SENTENCES[:20], 300)
    assert capfd.readouterr() == ("", "")


def test_more_special_tokens(small: Tokenizer) -> None:
    padded = train_tokenizer(SENTENCES, 402, special_tokens=["<|pad|>", "<|mask|>"])
    assert [padded.piece(token) for token in (399, 400, 401)] == ["<|endoftext|>", "<|pad|>", "<|mask|>"]
    assert (padded.end_of_text, padded.vocab_size) == (399, 402)
    assert padded.specification["model"]["merges"] == small.specification["model"]["merges"]
    assert not {399, 400, 401} & set(padded.encode("<|endoftext|><|pad|><|mask|>"))
    with pytest.raises(ConfigError, match="must not be a piece of ordinary text"):
        train_tokenizer(SENTENCES, 400, special_tokens=["Ġof"])


@pytest.mark.parametrize(
    ("texts", "vocab_size", "rule"),
    [
        (["text"], 257, "must exceed 257"),
        ([], 512, "needs text to learn from"),
        (["ab ab ab"], 5000, "the text is too little"),
        (["ab ab ab abab"], 260, "the text is too little"),
    ],
)
def test_refused(texts: list[str], vocab_size: int, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        train_tokenizer(texts, vocab_size)
