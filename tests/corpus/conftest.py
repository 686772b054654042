"""A tokenizer of 400 entries on disk."""

from pathlib import Path

import pytest

from tests.corpus.helpers import texts
from tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its directory."""
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([*texts("sample", 50), *(f"{i * i} {i:x} {i:b}" for i in range(300))], 400).save(path)
    return path
