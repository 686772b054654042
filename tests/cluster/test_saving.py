"""Kills and full disks while a checkpoint is written, and files damaged afterwards: the newest whole one is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pretrain.checkpoint.files import damage, list_checkpoints
from pretrain.monitoring.jsonl import read_rows
from tests.cluster.faults import Fault
from tests.cluster.launched import EVERY, PATIENT, make_launched
from tests.cluster.slurm import Cluster
from tests.cluster.training import Curve

Whole = Callable[..., Curve]
Told = Callable[..., None]
pytestmark = pytest.mark.slow


KILLS = [Fault("kill in writing", 1, 8), Fault("kill before the rename", 0, 8), Fault("kill after the rename", 0, 8)]


@pytest.mark.parametrize("fault", KILLS, ids=lambda fault: fault.kind)
def test_kill_9_during_a_checkpoint(cluster: Cluster, corpus: Path, whole: Whole, told: Told, fault: Fault) -> None:
    """Of the rank that writes: the newest whole checkpoint is used; same curve."""
    run = make_launched(cluster, corpus, fault.kind.replace(" ", "-"), fault=fault)
    run.submit()
    moment = run.when()
    first, second = run.until_finished(2)
    assert second.outcome == "finished" and run.curve() == whole(run)
    assert second.first_step == (8 if fault.kind == "kill after the rename" else 4)
    assert not list((run.directory / "checkpoints").glob("*.tmp"))
    cost = run.cost(moment)
    told(f"{first.outcome}: {first.reason}", **cost.figures)


@pytest.mark.parametrize("how", ["truncated", "a flipped bit"])
def test_a_damaged_checkpoint(cluster: Cluster, corpus: Path, whole: Whole, told: Told, how: str) -> None:
    """While the job waits to be started again: named and set aside, the one before is used; same curve."""
    run = make_launched(cluster, corpus, how.replace(" ", "-"))
    run.submit()
    run.until_step(11)
    fault = run.now()
    cluster.ask("scancel", "--batch", "--signal=USR1", *cluster.squeue())
    run.until(lambda: run.outcomes()[0] == "saved", "the end of the attempt")
    newest, before = list_checkpoints(run.directory / "checkpoints")
    file = next((newest / "engine").glob("*optim_states.pt"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content[:-100] if how == "truncated" else content)
    _, second = run.until_finished(2)
    assert f"step-{second.first_step:08d}" == before.name and second.outcome == "finished"
    assert run.curve() == whole(run)
    log = (run.directory / "logs" / "attempt-002.rank-00000.log").read_text()
    assert f"checkpoint {newest.name} is damaged and passed over: engine/{file.name}" in log
    assert newest.with_suffix(".damaged").is_dir()
    cost = run.cost(fault, most=2 * EVERY)
    told(next(line for line in log.splitlines() if "passed over" in line), **cost.figures)


def test_a_full_disk(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """A tmpfs under checkpoints/, filled in mid-run: told, training goes on, the one before stays whole. Same curve."""
    run = make_launched(cluster, corpus, "full", step_seconds=0.6, resilience=PATIENT)
    checkpoints = run.directory / "checkpoints"
    checkpoints.mkdir(parents=True)
    with cluster.small_disk(checkpoints, "8M") as seen:
        run.submit()
        run.until_step(6)
        ballast = seen / "ballast"
        cluster.client("sh", "-c", f"cat /dev/zero > {checkpoints / 'ballast'}")
        run.until_step(10)
        (whole_one,) = list_checkpoints(seen)
        assert whole_one.name == "step-00000004" and damage(whole_one) is None
        ballast.unlink()
        (only,) = run.until_finished(1)
    assert only.outcome == "finished" and run.curve() == whole(run)
    events = [row for row in read_rows(run.directory / "metrics.jsonl") if row["kind"] == "event"]
    (failed,) = [row["message"] for row in events if "CHECKPOINT FAILED" in row["message"]]
    assert "step-00000008 was not saved" in failed and "No space left" in failed
    told(note=failed)
