"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic import make_corpus


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", help="a file to which every test of a fault adds a line: what it cost")


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


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """`told(note, **figures)`: what the fault of this test cost, for tests/cluster/table.py."""
    figures: dict[str, Any] = {}

    def tell(note: str = "", **more: Any) -> None:
        figures.update(more, note=note)

    yield tell
    if path := request.config.getoption("--fault-table", None):
        report = getattr(request.node, "report", None)
        row = {"test": request.node.name, "about": request.function.__doc__ or "", **figures}
        row |= {"id": request.node.nodeid, "passed": bool(report and report.passed), "module": request.node.path.stem}
        row |= {"clusters": int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))}
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Let fixtures know how their test ended."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        item.report = report  # type: ignore[attr-defined]
