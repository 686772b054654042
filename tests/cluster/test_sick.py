"""Ranks that hang, numbers that are none, spikes and bad machines: found, named, and dealt with as the YAML says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pretrain.monitoring.jsonl import read_rows
from tests.cluster.faults import Fault
from tests.cluster.launched import PATIENT, Launched, make_launched
from tests.cluster.planted import poison_of
from tests.cluster.slurm import Cluster
from tests.cluster.training import Curve, undisturbed

Whole = Callable[..., Curve]
Told = Callable[..., None]
pytestmark = pytest.mark.slow
LIMIT = 8
"""Seconds in a phase after which a rank is taken to hang."""
FOUND = 10
"""Seconds after the limit within which the attempt must have ended."""


@pytest.mark.parametrize("phase", ["data", "step", "checkpoint"])
def test_a_rank_hangs(cluster: Cluster, corpus: Path, whole: Whole, told: Told, phase: str) -> None:
    """Found within the limit + 10 s; rank, host and phase named, stacks written; restarted, same curve."""
    stall = {"stall": {"silence": 60, "data": LIMIT, "step": LIMIT, "checkpoint": LIMIT}}
    step = 8 if phase == "checkpoint" else 7
    fault = Fault(f"hang in {phase}", rank=1, step=step)
    run = make_launched(cluster, corpus, f"hang-{phase}", fault=fault, resilience=stall)
    run.submit()
    moment = run.when()
    first, second = run.until_finished(2)
    assert first.outcome == "failed"
    assert f"rank 1 of 2 on node2 hangs in {phase} at step {step} for " in first.reason
    assert first.ended is not None and first.ended - moment.time < LIMIT + FOUND
    stacks = (run.directory / "logs" / "stacks-attempt-001.rank-00001.txt").read_text()
    assert "planted.py" in stacks and "in hang" in stacks
    assert second.outcome == "finished" and run.curve() == whole(run)
    cost = run.cost(moment)
    told(first.reason, **cost.figures)


SPIKE = Fault("poison", rank=1, step=15, factor=30.0, once=False)
NAN = Fault("poison", rank=1, step=15, once=False)
SHORT = {"window": 8, "warmup": 8, "loss": 20, "grad_norm": 50, "rollback": {"before": 0, "after": 0}}


def _spiked(cluster: Cluster, corpus: Path, name: str, fault: Fault, policy: dict[str, Any]) -> Launched:
    changes = {"schedule": {"name": "constant"}, "resilience": {**PATIENT, "spikes": {**SHORT, **policy}}}
    return make_launched(cluster, corpus, name, fault=fault, step_seconds=0, **changes)


def _events(run: Launched) -> str:
    rows = read_rows(run.directory / "metrics.jsonl")
    return "\n".join(row["message"] for row in rows if row["kind"] == "event")


@pytest.mark.parametrize("policy", ["record", "skip", "rollback"])
def test_a_loss_spike(cluster: Cluster, corpus: Path, tmp_path: Path, told: Told, policy: str) -> None:
    """By a poisoned batch, on two nodes: what the policy says, in one attempt, the curve that it leads to elsewhere."""
    run = _spiked(cluster, corpus, f"spike-{policy}", SPIKE, {"spike": policy})
    run.submit()
    (only,) = run.until_finished(1)
    assert only.outcome == "finished"
    assert "at step 15 (samples 56 to 59 of the order)" in _events(run)
    assert run.curve() == undisturbed(run, 2, tmp_path / policy, poison_of(SPIKE))
    told(note=next(line for line in _events(run).splitlines() if "a spike" in line)[:200])


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_no_number_in_one_rank(cluster: Cluster, corpus: Path, tmp_path: Path, told: Told, policy: str) -> None:
    """Rank, host and sample named; what the policy says, in one attempt, the curve that it leads to elsewhere."""
    run = _spiked(cluster, corpus, f"nan-{policy}", NAN, {"nan": policy})
    run.submit()
    (only,) = run.until_finished(1)
    assert only.outcome == "finished"
    assert "rank 1 on node2 had" in _events(run)
    whole = {**run.run, "directory": str(tmp_path / policy)}
    losses = _trained(whole, NAN)
    rows = [row for row in read_rows(run.directory / "metrics.jsonl") if row["kind"] == "train"]
    assert [(row["step"], row["loss"], row["grad_norm"]) for row in rows] == losses
    told(note=next(line for line in _events(run).splitlines() if "rank 1 on node2" in line)[:200])


@pytest.mark.parametrize("fault", [SPIKE, NAN], ids=["spike", "nan"])
def test_a_spike_that_stops_the_run(cluster: Cluster, corpus: Path, told: Told, fault: Fault) -> None:
    """The policy `stop`: attempts end alike with what to do, and nobody starts it a fourth time."""
    run = _spiked(cluster, corpus, f"stop-{fault.factor:g}", fault, {"spike": "stop", "nan": "stop"})
    run.submit()
    report = run.directory / "crash-report.txt"
    run.until(report.exists, "the crash report")
    run.until_gone()
    assert set(run.outcomes()) == {"failed"} and "at step 15 (samples 56 to 59 of the order)" in report.read_text()
    told(note=f"{len(run.attempts())} attempts; {run.attempts()[-1].gave_up[:160]}")


def test_a_bad_node(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """Found by the health check: named, excluded, submitted again elsewhere; same curve."""
    run = make_launched(cluster, corpus, "bad", fault=Fault("unfit", host="node2"))
    job = run.submit()
    first, second = run.until_finished(2)
    assert (first.outcome, first.bad_hosts) == ("failed", ("node2",))
    assert "rank 1 on node2: has 0.00 GB free for temporary files" in first.reason
    assert "node2" not in second.hosts and second.job != job
    assert cluster.job(int(second.job))["ExcNodeList"] == "node2"
    assert run.curve() == whole(run)
    told(note=first.reason)


def _trained(run: dict[str, Any], fault: Fault) -> list[tuple[int, float, float]]:
    from tests.processes import train_processes

    rows = train_processes(run, 2, before=poison_of(fault))
    return [(row["step"], row["loss"], row["grad_norm"]) for row in rows if row["kind"] == "train"]
