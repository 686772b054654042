"""What clusters do to a run, and that nothing is lost by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.slurm import Cluster, wait_for
from tests.cluster.training import finish, make_training, nothing_left, undisturbed

SURVIVING: dict[str, Any] = {
    "checkpoint": {"every": "4 steps", "keep_last": 2},
    "resilience": {"stall": {"silence": 5}},
}
SRUN = ("srun", "--nodes=2", "--ntasks-per-node=1", "python", "-m", "pretrain.train")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill a rank", "crash a node"])
def test_the_curve_after_a_fault(cluster: Cluster, corpus: Path, tmp_path: Path, fault: str) -> None:
    """Bare srun: everyone ends soon, though srun would wait; started again, it is the undisturbed curve bit for bit."""
    training = make_training(cluster, corpus, fault.replace(" ", "_"), step_seconds=0.3, **SURVIVING)
    whole = undisturbed(training, 2, tmp_path)
    process = training.start(*SRUN, str(training.path))
    training.wait_for_step(6)
    if fault == "kill a rank":
        assert training.kill(1).node.name == "node2"
    else:
        cluster.node(2).crash()
    wait_for(lambda: not training.ranks(), 40, "the survivor to end")
    assert 6 <= training.step() < 20
    cluster.reset()
    assert finish([process]) != [0]
    training.train(*SRUN, str(training.path))
    assert training.curve() == whole
    nothing_left(cluster)
