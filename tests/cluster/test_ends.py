"""What a scheduler and people do to a run: it saves, comes back where it should and only there, with the same curve."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.faults import Fault
from tests.cluster.launched import EVERY, PATIENT, Moment, make_launched
from tests.cluster.slurm import Cluster, wait_for
from tests.cluster.training import Curve

Whole = Callable[..., Curve]
Told = Callable[..., None]
slow = pytest.mark.slow


def test_the_warning_before_the_time_limit(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """USR1 to the batch script, as `--signal=B:USR1` sends it: saved at once, requeued; no step is redone."""
    run = make_launched(cluster, corpus, "usr1")
    job = run.submit()
    run.until_step(6)
    fault = run.now()
    cluster.ask("scancel", "--batch", "--signal=USR1", job)
    first, second = run.until_finished(2)
    assert (first.outcome, first.reason) == ("saved", "SIGUSR1: the time limit is near")
    assert second.outcome == "finished" and run.curve() == whole(run)
    cost = run.cost(Moment(fault.time, first.last_step or 0))
    assert cost.redone == 0 and second.first_step == first.last_step
    told(first.reason, **cost.figures)


@slow
def test_the_time_limit(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """Of SLURM itself, two minutes: warned, saved and requeued; no step is redone."""
    # SLURM looks every 30 s who will be due within warn + 30 s: it warns 75 to 105 s after the start, which is enough
    # for 11 steps and not for 20; at a limit of one minute it may warn after 15 s, again and again
    where = {"slurm": {"time": "2 min", "warn": 15}}
    run = make_launched(cluster, corpus, "limit", step_seconds=5.5, where=where)
    run.submit()
    attempts = run.until_finished()
    assert len(attempts) > 1 and {attempt.reason for attempt in attempts[:-1]} == {"SIGUSR1: the time limit is near"}
    assert run.outcomes() == ["saved"] * (len(attempts) - 1) + ["finished"]
    assert run.curve() == whole(run)
    assert [step for _, step in run.steps()] == list(range(1, 21))
    told(note=f"{len(attempts)} attempts")


@slow
@pytest.mark.parametrize("partition", ["low", "train"])
def test_preemption(cluster: Cluster, corpus: Path, whole: Whole, told: Told, partition: str) -> None:
    """By a job of a higher partition, with 5 s of grace (low) saved, without (train) saved or lost; same curve."""
    run = make_launched(cluster, corpus, f"preempt-{partition}", where={"slurm": {"partition": partition}})
    run.submit()
    run.until_step(6)
    fault = run.now()
    urgent = cluster.sbatch("sleep 600", "-p", "high", "-N4", "--exclusive")
    cluster.wait_for_job(urgent, "RUNNING")
    assert not run.ranks()
    # cancelled before its script runs, SLURM 22.05 may start it all the same
    wait_for(lambda: ["sleep", "600"] in cluster.foreign().get("node1", []), 30, "the urgent job's script")
    cluster.ask("scancel", str(urgent))
    first, second = run.until_finished(2)
    assert second.outcome == "finished" and run.curve() == whole(run)
    cost = run.cost(fault)
    if partition == "low":
        assert first.outcome == "saved" and second.first_step == first.last_step
    told(f"{first.outcome}: {first.reason}", **cost.figures)


@slow
def test_scancel(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """Not requeued; launched again by hand it goes on, same curve."""
    run = make_launched(cluster, corpus, "scancel")
    job = run.submit()
    run.until_step(6)
    cluster.ask("scancel", job)
    run.until_gone()
    time.sleep(8)  # longer than a requeued job waits
    assert cluster.squeue() == {} and cluster.job_state(int(job)) == "CANCELLED"
    assert cluster.job(int(job))["Restarts"] == "0"
    run.submit()
    first, second = run.until_finished(2)
    assert first.outcome in ("saved", "lost") and second.outcome == "finished"
    assert run.curve() == whole(run)
    assert (second.first_step or 0) >= 6 - EVERY
    told(note=f"{first.outcome}: {first.reason}")


@slow
def test_scontrol_requeue(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """By an administrator. Same curve."""
    run = make_launched(cluster, corpus, "requeue")
    job = run.submit()
    run.until_step(6)
    fault = run.now()
    cluster.ask("scontrol", "requeue", job)
    first, second = run.until_finished(2)
    assert second.outcome == "finished" and run.curve() == whole(run)
    assert cluster.job(int(job))["Restarts"] == "1"
    cost = run.cost(fault)
    told(f"{first.outcome}: {first.reason}", **cost.figures)


@slow
def test_a_finished_run_is_submitted_again(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """`pretrain launch` refuses it; its script, submitted by hand, ends at once and changes nothing."""
    run = make_launched(cluster, corpus, "finished", step_seconds=0, resilience=PATIENT)
    run.submit()
    run.until_finished()
    code, said = run.pretrain("launch", str(run.path), "--on", "slurm")
    assert code == 2 and "must be more than what was trained already" in said
    job = cluster.ask("sbatch", "--parsable", str(run.directory / "job.sbatch")).strip()
    cluster.wait_for_job(int(job), "COMPLETED", "FAILED", "CANCELLED", seconds=90)
    assert cluster.job(int(job))["Restarts"] == "0" and cluster.squeue() == {}
    assert run.curve() == whole(run)
    told(note=said.splitlines()[-2].strip())


@slow
def test_a_crash_loop(cluster: Cluster, corpus: Path, told: Told) -> None:
    """A rank that fails at the same step each time: three attempts, crash-report.txt, and no job any more."""
    run = make_launched(cluster, corpus, "loop", step_seconds=0, fault=Fault("fail", rank=1, step=6, once=False))
    job = run.submit()
    report = run.directory / "crash-report.txt"
    wait_for(report.exists, 240, "the crash report")
    run.until_gone()
    time.sleep(8)  # longer than a requeued job waits
    assert cluster.squeue() == {} and cluster.job(int(job))["Restarts"] == "2"
    attempts = run.attempts()
    assert [attempt.outcome for attempt in attempts] == ["failed"] * 3
    assert all("rank 1 of 2 on node2 failed first, in data" in attempt.reason for attempt in attempts)
    assert attempts[-1].gave_up.startswith("the same failure 3 times in a row at step 5")
    text = report.read_text()
    assert "a planted failure" in text and "what to do" in text
    told(note=attempts[-1].gave_up)


def test_two_launches_of_one_run(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """The second is refused with who holds the run; the first trains on undisturbed."""
    run = make_launched(cluster, corpus, "two", step_seconds=0, resilience=PATIENT)
    job = run.submit()
    code, said = run.pretrain("launch", str(run.path), "--on", "slurm")
    message = said.partition("nothing was started:\n")[2]
    assert code == 2 and message.count("must not be in use") == 1, said
    (only,) = run.until_finished(1)
    assert (only.outcome, only.job) == ("finished", job) and run.curve() == whole(run)
    told(note=message.strip().splitlines()[1].strip())


@slow
def test_two_jobs_of_one_run(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """Submitted by hand: the second waits for a minute, as a job after a requeue does, says who holds it, and ends."""
    run = make_launched(cluster, corpus, "jobs", step_seconds=5, resilience=PATIENT)
    job = run.submit()
    run.until_step(1)
    other = cluster.ask("sbatch", "--parsable", str(run.directory / "job.sbatch")).strip()
    cluster.wait_for_job(int(other), "COMPLETED", "FAILED", seconds=90)
    said = (run.directory / "logs" / f"job-{other}.log").read_text()
    assert f"is supervised by job {job} on node1" in said
    (only,) = run.until_finished(1)
    assert only.outcome == "finished" and run.curve() == whole(run)
    told(note=said.strip())
