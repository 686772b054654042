"""One cluster for all tests of a test process; each test finds it as new."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.launched import Launched
from tests.cluster.slurm import Cluster, missing
from tests.cluster.training import Curve, undisturbed

Before = Callable[[Path], None]


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
