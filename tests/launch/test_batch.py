"""The batch script around the supervisor: it passes signals on and exit codes back, and outlives it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launch.script import TEMPLATES
from pretrain.resilience.attempts import begin, end
from tests.launch.fakes import QUICK, ROOT, TRAINING, FakeSlurm, ends, in_job, supervise, wait_for


def start_script(directory: Path, slurm: FakeSlurm, *acts: str, **environment: str) -> subprocess.Popen[str]:
    """The template over the fake training, as SLURM starts it."""
    (directory / "fake.py").write_text(TRAINING)
    python = shlex.quote(sys.executable)
    text = (TEMPLATES / "job.sbatch").read_text()
    for name, value in {
        "workdir": str(ROOT),
        "supervise": f"{python} -m launch.supervise {directory} {' '.join(QUICK)} --slurm",
        "command": f"{python} {directory}/fake.py {directory} {' '.join(acts)}",
        "again": f"{python} -m launch.again {directory}",
        "directives": "",
        "preparation": "",
    }.items():
        text = text.replace(f"@{{{name}}}", value)
    (directory / "job.sbatch").write_text(text)
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **in_job(slurm, **environment)}
    command = ["bash", str(directory / "job.sbatch")]
    with open(directory / "output.txt", "w") as output:
        return subprocess.Popen(command, env=variables, stdout=output, stderr=output, text=True, start_new_session=True)


def told(directory: Path) -> str:
    return (directory / "output.txt").read_text()


def supervisor_of(process: subprocess.Popen[str]) -> int:
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


@pytest.mark.parametrize("acts, code", [(["finish"], 0), (["refuse"], 2)])
def test_the_exit_code_is_the_supervisors(tmp_path: Path, slurm: FakeSlurm, acts: list[str], code: int) -> None:
    process = start_script(tmp_path, slurm, *acts)
    assert process.wait(60) == code, told(tmp_path)
    assert slurm.calls == []


@pytest.mark.parametrize("number, why", [(signal.SIGUSR1, "SIGUSR1: the time limit is near"), (signal.SIGTERM, "")])
def test_signals_to_the_script_reach_the_supervisor(
    tmp_path: Path, slurm: FakeSlurm, number: signal.Signals, why: str
) -> None:
    process = start_script(tmp_path, slurm, "obey")
    wait_for(lambda: (tmp_path / "heartbeat.json").exists())
    os.kill(process.pid, number)
    wait_for(lambda: "scontrol requeue 17" in slurm.calls)
    attempt, outcome, reason = ends(tmp_path)[0]
    assert (attempt, outcome) == (1, "saved") and why in reason
    os.kill(process.pid, signal.SIGTERM)  # SLURM ends a job that was requeued
    assert process.wait(60) == 0, told(tmp_path)


def test_a_killed_supervisor_is_requeued(tmp_path: Path, slurm: FakeSlurm) -> None:
    process = start_script(tmp_path, slurm, "obey")
    wait_for(lambda: (tmp_path / "heartbeat.json").exists())
    os.kill(supervisor_of(process), signal.SIGKILL)
    wait_for(lambda: "the supervisor was killed: job 17 was requeued" in told(tmp_path))
    assert slurm.calls[-1] == "scontrol requeue 17"
    assert process.poll() is None, "SLURM could take its end for the job's"
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 137


def test_a_supervisor_killed_in_a_cancelled_job_is_not_requeued(tmp_path: Path, slurm: FakeSlurm) -> None:
    slurm.answer(squeue_out="COMPLETING None")
    process = start_script(tmp_path, slurm, "obey")
    wait_for(lambda: (tmp_path / "heartbeat.json").exists())
    os.kill(supervisor_of(process), signal.SIGKILL)
    assert process.wait(60) == 137
    assert "not started again: SLURM is ending job 17" in told(tmp_path)


@pytest.mark.parametrize("restarts, outcome", [("2", "gave up"), ("0", "finished")])
def test_attempts_that_their_supervisors_did_not_outlive_count(
    tmp_path: Path, slurm: FakeSlurm, restarts: str, outcome: str
) -> None:
    """None of them could judge; the one that SLURM starts the third time does. Started by a person, it goes on."""
    for number in (1, 2, 3):
        begin(tmp_path, number, launcher="slurm", job="17", hosts=["node1"], processes=1, step=8)
        if number < 3:
            end(tmp_path, number, "lost", step=None, reason="ended without a word, and its supervisor with it")
    environment = in_job(slurm, SLURM_RESTART_COUNT=restarts)
    code, output = supervise(tmp_path, ["finish"], "--slurm", environment=environment)
    assert ends(tmp_path)[-1][1] == outcome and code == (outcome == "gave up"), output
    assert (tmp_path / "crash-report.txt").exists() == (outcome == "gave up")
