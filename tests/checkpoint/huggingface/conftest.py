"""A corpus whose tokenizer is one, and models trained on it in several layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkpoint.huggingface.models import VOCABULARY, make_byte_corpus
from tests.checkpoint.trained import train_layout


@pytest.fixture(scope="session")
def byte_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of made-up tokens of the byte tokenizer."""
    return make_byte_corpus(tmp_path_factory.mktemp("bytes"))


@pytest.fixture(scope="session")
def trained(byte_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`trained(layout)`: the run directory of the small run, trained under a layout of `trained.LAYOUTS`."""
    folder = tmp_path_factory.mktemp("trained")

    def train(layout: str) -> Path:
        directory = folder / layout
        if not (directory / "checkpoints" / "latest").exists():
            train_layout(layout, byte_corpus, directory, model={"vocab_size": VOCABULARY})
        return directory

    return train
