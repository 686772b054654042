"""SLURM's commands: times, states, answers that do not come."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from launch import slurm
from tests.launch.fakes import FakeSlurm


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path)
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    return fake


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("1-02:03:04", 93784),
        ("2-00", 172800),
        ("12:00:00", 43200),
        ("30:15", 1815),
        ("90", 5400),
        ("infinite", None),
        ("UNLIMITED", None),
        ("n/a", None),
    ],
)
def test_times_that_slurm_writes(text: str, seconds: float | None) -> None:
    assert slurm.seconds(text) == seconds


@pytest.mark.parametrize(
    "seconds, text", [(60, "00:01:00"), (61, "00:02:00"), (43200, "12:00:00"), (129600, "1-12:00:00")]
)
def test_times_that_slurm_reads(seconds: float, text: str) -> None:
    assert slurm.time_limit(seconds) == text
    assert slurm.seconds(text) == -(-seconds // 60) * 60


def test_states(fake: FakeSlurm) -> None:
    fake.answer(squeue_out="17|RUNNING|None\n18_1|PENDING|Resources")
    assert slurm.states(["17"]) == {"17": "RUNNING", "18_1": "PENDING (Resources)"}
    assert not slurm.is_over("PENDING (Resources)") and not slurm.is_over("COMPLETING")
    assert slurm.is_over("CANCELLED") and slurm.is_over("FAILED (NonZeroExitCode)")
    fake.answer(squeue_error="slurm_load_jobs error: Invalid job id specified")
    assert slurm.states(["17"]) == {}


def test_a_refusal_is_final(fake: FakeSlurm) -> None:
    fake.answer(sbatch_error="sbatch: error: invalid partition specified: gpu")
    with pytest.raises(slurm.SlurmError, match=r"^sbatch: sbatch: error: invalid partition specified: gpu$"):
        slurm.submit("job.sbatch")
    assert fake.calls == ["sbatch --parsable job.sbatch"]


@pytest.mark.parametrize("known, job, calls", [([], "18", 1), (["18", "17"], "", 2)])
def test_a_job_is_not_queued_twice(
    fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: list[str], job: str, calls: int
) -> None:
    """A socket that timed out often means that the job was accepted."""
    monkeypatch.setattr(slurm, "ATTEMPTS", calls)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    script = tmp_path / "runs" / "small" / "job.sbatch"
    fake.answer(sbatch_error="sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    fake.answer(squeue_out=f"19|{tmp_path}|other.sbatch\n18|{tmp_path}|runs/small/job.sbatch\n17|/|{script}")
    if job:
        assert slurm.submit(str(script), known=known) == job
    else:
        with pytest.raises(slurm.SlurmError, match="Socket timed out"):
            slurm.submit(str(script), known=known)
    assert [call.split()[0] for call in fake.calls] == ["sbatch", "squeue"] * calls


def test_no_answer_is_asked_for_again_and_never_waited_for_long(fake: FakeSlurm) -> None:
    fake.answer(squeue_sleep="20")
    with pytest.raises(slurm.SlurmError, match="squeue: no answer within 0 s"):
        slurm.call("squeue", attempts=2, timeout=0.3)
    assert fake.calls == ["squeue ", "squeue "]


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(slurm.SlurmError, match="sinfo is not installed here"):
        slurm.call("sinfo")


@pytest.mark.parametrize(
    "state, allowed",
    [
        ("RUNNING None", True),
        ("COMPLETING TimeLimit", True),
        ("COMPLETING None", False),
        ("CANCELLED None", False),
        ("PENDING BeginTime", False),
    ],
)
def test_which_jobs_are_requeued(fake: FakeSlurm, state: str, allowed: bool) -> None:
    fake.answer(squeue_out=state)
    if allowed:
        slurm.requeue("17")
    else:
        with pytest.raises(slurm.SlurmError, match="SLURM is ending job 17"):
            slurm.requeue("17")
    assert ("scontrol requeue 17" in fake.calls) == allowed


@pytest.mark.parametrize(
    "environment, job",
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "17"}, "17"),
        ({"SLURM_JOB_ID": "19", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "2"}, "17_2"),
    ],
)
def test_the_own_job(environment: dict[str, str], job: str) -> None:
    assert slurm.own_job(environment) == job
