"""One cluster for all tests of a test process; each test finds it as new. And the fault table's figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.launched import Cost, Launched
from tests.cluster.slurm import Cluster, missing
from tests.cluster.training import Curve, undisturbed

Before = Callable[[Path], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", help="a file to which every test of a fault adds a line: what it cost")


@pytest.fixture(scope="session")
def standing_cluster() -> Iterator[Cluster]:
    """Four nodes, started once for each test process. Skips and says what is missing where it cannot run."""
    if lacks := missing():
        pytest.skip(f"a SLURM cluster needs {', '.join(lacks)}")
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(standing_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with nothing running on it and every node up, before and after the test."""
    standing_cluster.reset()
    yield standing_cluster
    standing_cluster.reset()


@pytest.fixture(scope="session")
def known_curves() -> dict[str, Curve]:
    """Curves of undisturbed runs, each computed once."""
    return {}


@pytest.fixture
def whole(known_curves: dict[str, Curve], tmp_path: Path) -> Callable[..., Curve]:
    """`whole(run, processes, before)`: the curve when nothing but `before` happens to a run."""

    def of(launched: Launched, processes: int = 2, before: Before | None = None) -> Curve:
        told = {name: part for name, part in launched.run.items() if name not in ("cluster", "directory", "name")}
        key = json.dumps([told, processes, repr(before)], sort_keys=True)
        if key not in known_curves:
            known_curves[key] = undisturbed(launched, processes, tmp_path / "whole", before)
        return known_curves[key]

    return of


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """`told(cost, note)`: what the fault of this test cost, for the table."""
    figures: dict[str, Any] = {}

    def tell(cost: Cost | None = None, note: str = "") -> None:
        figures.update(asdict(cost) if cost else {}, note=note)

    yield tell
    if path := request.config.getoption("--fault-table", None):
        report = getattr(request.node, "report", None)
        row = {"test": request.node.name, "about": request.function.__doc__ or "", **figures}
        row |= {"passed": bool(report and report.passed), "module": request.node.path.stem}
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Let fixtures know how their test ended."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        item.report = report  # type: ignore[attr-defined]
