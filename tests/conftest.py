"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.synthetic import make_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small made-up corpus."""
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real text and reference files that PRETRAIN_TEST_DATA names; skips without it."""
    if not (path := os.environ.get("PRETRAIN_TEST_DATA")):
        pytest.skip("set PRETRAIN_TEST_DATA to the folder of test data")
    return Path(path)
