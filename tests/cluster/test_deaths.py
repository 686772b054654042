"""Processes, launchers and machines that die: the step ends in seconds, the run goes on, the curve is the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.launched import make_launched
from tests.cluster.machine import Machine, command_of
from tests.cluster.slurm import Cluster, wait_for
from tests.cluster.training import Curve, finish, nothing_left

Whole = Callable[..., Curve]
Told = Callable[..., None]
slow = pytest.mark.slow


def test_kill_9_of_a_rank(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """The others end in seconds and say who died; requeued, same curve; then nothing is left to launch."""
    run = make_launched(cluster, corpus, "rank")
    run.submit()
    run.until_step(6)
    fault = run.now()
    assert run.kill(1).node.name == "node2"
    wait_for(lambda: not run.ranks(), 30, "the step to end")
    first, second = run.until_finished(2)
    assert (first.outcome, second.outcome) == ("failed", "finished")
    assert "rank 1 of 2 on node2 ended without a word in" in first.reason
    assert run.curve() == whole(run)
    cost = run.cost(fault)
    told(first.reason, **cost.figures)
    code, said = run.pretrain("launch", str(run.path), "--on", "slurm")
    assert code == 2 and "must be more than what was trained already" in said
    assert cluster.squeue() == {}


@slow
def test_kill_9_of_srun(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """Requeued; same curve."""
    run = make_launched(cluster, corpus, "srun")
    run.submit()
    run.until_step(6)
    fault = run.now()
    _kill_all(cluster.node(1), lambda words: Path(words[0]).name == "srun")
    first, second = run.until_finished(2)
    assert second.outcome == "finished" and run.curve() == whole(run)
    cost = run.cost(fault)
    told(f"{first.outcome}: {first.reason}", **cost.figures)


@slow
def test_kill_9_of_the_supervisor(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """Nothing is left running; the batch script around it has the job requeued; same curve."""
    run = make_launched(cluster, corpus, "supervisor")
    job = run.submit()
    run.until_step(6)
    fault = run.now()
    _kill_all(cluster.node(1), lambda words: words[1:3] == ["-m", "launch.supervise"])
    wait_for(lambda: not run.ranks(), 30, "the ranks to end")
    first, second = run.until_finished(2)
    assert second.outcome == "finished" and run.curve() == whole(run)
    assert cluster.job(int(job))["Restarts"] == "1"
    cost = run.cost(fault)
    told(f"{first.outcome}: {first.reason}", **cost.figures)


LAUNCHERS = {"torchrun": ("torch.distributed.run",), "deepspeed": ("deepspeed.launcher.runner",)}


@slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_kill_9_of_a_local_launcher(cluster: Cluster, corpus: Path, whole: Whole, told: Told, launcher: str) -> None:
    """The supervisor ends what it leaves behind and starts it again; same curve."""
    run = make_launched(cluster, corpus, launcher, nodes=1, where={"gpus_per_node": 2})
    process = run.start("pretrain", "launch", str(run.path), "--on", launcher)
    run.until_step(6)
    fault = run.now()
    _kill_all(cluster.login, lambda words: words[1:2] == ["-m"] and words[2] in LAUNCHERS[launcher])
    assert finish([process]) == [0], run.story()
    first, second = run.attempts()
    assert second.outcome == "finished" and run.curve() == whole(run)
    cost = run.cost(fault)
    told(f"{first.outcome}: {first.reason}", **cost.figures)
    nothing_left(cluster)


@slow
@pytest.mark.parametrize("number", [2, 1])
def test_a_node_crashes(cluster: Cluster, corpus: Path, whole: Whole, told: Told, number: int) -> None:
    """Found by our own timeout where the supervisor lives; with node1 it dies too, and SLURM requeues. Same curve."""
    run = make_launched(cluster, corpus, f"crash{number}")
    run.submit()
    run.until_step(6)
    fault = run.now()
    cluster.node(number).crash()
    wait_for(lambda: not run.ranks(), 40, "the survivor to end")
    first, second = run.until_finished(2)
    assert second.outcome == "finished" and run.curve() == whole(run)
    if number == 2:
        assert first.outcome == "failed" and "rank 1 of 2 on node2" in first.reason
    assert f"node{number}" not in second.hosts
    cost = run.cost(fault)
    told(f"{first.outcome}: {first.reason}", **cost.figures)


@slow
@pytest.mark.parametrize("number", [2, 1])
def test_a_node_is_gone_and_back(cluster: Cluster, corpus: Path, whole: Whole, told: Told, number: int) -> None:
    """Before SLURM notices, so that for SLURM the job still runs. Same curve."""
    run = make_launched(cluster, corpus, f"back{number}")
    run.submit()
    run.until_step(6)
    fault = run.now()
    cluster.node(number).crash()
    cluster.node(number).start()
    wait_for(lambda: not run.ranks(), 40, "the survivor to end")
    first, second = run.until_finished(2)
    assert second.outcome == "finished" and run.curve() == whole(run)
    cost = run.cost(fault)
    told(f"{first.outcome}: {first.reason}", **cost.figures)


@slow
def test_the_cable_of_a_node_is_pulled(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """For 9 s, less than SLURM's patience: its rank lives on and nobody hears of it. Same curve, no rank left."""
    run = make_launched(cluster, corpus, "cable")
    run.submit()
    run.until_step(6)
    fault = run.now()
    cluster.node(2).unplug()
    run.until(lambda: run.outcomes()[0], "the end of the attempt", 40)
    cluster.node(2).plug()
    first, second = run.until_finished(2)
    assert second.outcome == "finished" and run.curve() == whole(run)
    cost = run.cost(fault)
    told(f"{first.outcome}: {first.reason}", **cost.figures)


@slow
@pytest.mark.parametrize("gone", [(3, 4), (3,)], ids=["two crash", "one crashes"])
def test_four_nodes_then_two(cluster: Cluster, corpus: Path, whole: Whole, told: Told, gone: tuple[int, ...]) -> None:
    """`parallel: auto`, min_nodes 2: goes on with two ranks, also where three nodes are left, for which there is no
    layout; the curve to 1e-5."""
    run = make_launched(cluster, corpus, f"fewer-{len(gone)}", nodes=4, where={"min_nodes": 2}, parallel="auto")
    run.submit()
    run.until_step(6)
    fault = run.now()
    for number in gone:
        cluster.node(number).crash()
    attempts = run.until_finished()
    first, last = attempts[0], attempts[-1]
    assert (first.processes, last.processes) == (4, 2) and last.outcome == "finished"
    curve, undisturbed = run.curve(), whole(run, 4)
    assert curve.losses == pytest.approx(undisturbed.losses, abs=1e-5)
    assert curve.order_hash == undisturbed.order_hash
    cost = run.cost(fault, len(attempts))
    told(f"{first.outcome}: {first.reason}", **cost.figures)


@slow
@pytest.mark.parametrize("also", ["nothing else", "a rank is killed"])
def test_the_controller_restarts(cluster: Cluster, corpus: Path, whole: Whole, told: Told, also: str) -> None:
    """The run does not notice; should a rank die while it is down, the requeue waits for it. Same curve."""
    run = make_launched(cluster, corpus, f"controller-{also[0]}")
    run.submit()
    run.until_step(6)
    cluster.stop_controller()
    fault = run.now()
    if also == "a rank is killed":
        run.kill(1)
        run.until(lambda: run.outcomes()[0], "the end of the attempt", 60)
    else:
        run.until_step(10)
    cluster.start_controller()
    attempts = run.until_finished()
    assert attempts[-1].outcome == "finished" and run.curve() == whole(run)
    if also == "nothing else":
        assert len(attempts) == 1
        told(note="one attempt")
    else:
        cost = run.cost(fault)
        told(attempts[0].reason, **cost.figures)


def _kill_all(machine: Machine, chosen: Callable[[list[str]], Any]) -> None:
    """kill -9 the processes of a machine whose words are `chosen`. Raises AssertionError when there is none."""
    found = [pid for pid in machine.foreign() if (words := command_of(pid)) and chosen(words)]
    assert found, [command_of(pid) for pid in machine.foreign()]
    for pid in found:
        os.kill(pid, signal.SIGKILL)
