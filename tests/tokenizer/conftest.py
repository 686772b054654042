"""Tokenizers to test with: one trained here on a few sentences, and GPT-2's from outside when it is there."""

import os
from pathlib import Path

import pytest

from tokenizer import Tokenizer, load_tokenizer, train_tokenizer


def word_of(number: int) -> str:
    """A made-up word that occurs four times."""
    return "".join("bdfgklmnprst"[number * k % 12] + "aeiou"[number * k % 5] for k in range(1, 8))


SENTENCES = [
    f"The {a} {b} of {c} number {i * i}, don't they? {word_of(i)}\n"
    for i in range(60)
    for a, b, c in (
        ("quick", "foxes", "autumn"),
        ("한국어", "문장", "서울"),
        ("small", "models", "language"),
        ("naïve", "café", "Zürich"),
    )
]


@pytest.fixture(scope="session")
def small() -> Tokenizer:
    """400 entries."""
    return train_tokenizer(SENTENCES, 400)


@pytest.fixture(scope="session")
def gpt2() -> Tokenizer:
    """GPT-2's own, from PRETRAIN_TEST_DATA."""
    return load_tokenizer(test_data("gpt2-tokenizer"))


def test_data(name: str) -> Path:
    """A folder of the outside test data; the test is skipped without it."""
    root = os.environ.get("PRETRAIN_TEST_DATA")
    if not root:
        pytest.skip(f"set PRETRAIN_TEST_DATA to a folder that holds {name}/")
    return Path(root, name)


test_data.__test__ = False  # type: ignore[attr-defined]
