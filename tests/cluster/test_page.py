"""The page on clusters (launch/README.md), followed word for word by somebody on the login machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.launched import make_launched
from tests.cluster.slurm import Cluster
from tests.cluster.training import undisturbed


@pytest.mark.slow
def test_the_page(cluster: Cluster, corpus: Path, tmp_path: Path) -> None:
    """Dry run, for real, status, logs, stop, and on with another layout."""
    run = make_launched(cluster, corpus, "page", step_seconds=0.5)
    code, shown = run.pretrain("launch", str(run.path), "--on", "slurm", "--dry-run")
    assert code == 0, shown
    for line in (
        "#SBATCH --nodes=2",
        "python -m launch.supervise",
        "node 1  local 0  rank 1  pipe 0 data 1",
        "partition      ok",
    ):
        assert line in shown, shown
    assert not cluster.squeue() and not run.attempts()

    run.submit()
    run.until_step(5)
    code, status = run.pretrain("status", str(run.directory))
    assert code == 0 and "RUNNING" in status and "/ 20" in status, status
    code, log = run.pretrain("logs", str(run.directory), "--rank", "0")
    assert code == 0 and "loss" in log, log
    code, stopped = run.pretrain("stop", str(run.directory))
    assert code == 0, stopped
    run.until(lambda: not cluster.squeue(), "an empty queue", 60)
    (first,) = run.attempts()
    assert first.outcome == "stopped" and first.last_step

    run.submit("--nodes", "1", "--gpus-per-node", "2", "parallel.tensor=2")
    first, second = run.until_finished(2)
    assert second.outcome == "finished" and second.first_step == first.last_step
    ours, whole = run.curve(), undisturbed(run, 2, tmp_path / "whole")
    assert ours.losses == pytest.approx(whole.losses, abs=1e-5) and ours.order_hash == whole.order_hash
