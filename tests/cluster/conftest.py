"""One cluster for all tests of a test process; each test finds it as new."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster, missing


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
