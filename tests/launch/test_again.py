"""How a SLURM job has its run started again: the supervisor as a batch script, over a SLURM that only answers."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from launch.record import Launch, write_launch
from tests.launch.fakes import FakeSlurm, ends, send, start_supervisor, wait_for


@pytest.fixture
def slurm(tmp_path: Path) -> FakeSlurm:
    fake = FakeSlurm(tmp_path)
    fake.answer(squeue_out="RUNNING None", sbatch_out="18")
    return fake


def in_job(slurm: FakeSlurm, **more: str) -> dict[str, str]:
    return {**slurm.environment, "SLURM_JOB_ID": "17", **more}


class TestUnderSlurm:
    def run(self, slurm: FakeSlurm, directory: Path, acts: list[str], **environment: str) -> tuple[int, str]:
        """Until the supervisor ends, or would wait for SLURM to end it."""
        process = start_supervisor(directory, acts, "--slurm", environment=in_job(slurm, **environment))
        wait_for(lambda: process.poll() is not None or any(" requeue " in call for call in slurm.calls))
        time.sleep(0.3)
        process.kill()
        return process.wait(), process.communicate()[0]

    def test_a_failed_attempt_requeues_the_job(self, tmp_path: Path, slurm: FakeSlurm) -> None:
        self.run(slurm, tmp_path / "run", ["die"])
        assert slurm.calls == ["squeue --noheader --jobs 17 --states=all --format=%T %r", "scontrol requeue 17"]

    def test_a_requeued_job_ends_when_slurm_says_so(self, tmp_path: Path, slurm: FakeSlurm) -> None:
        """Staying until it is killed would cost KillWait seconds; leaving before looks like the job's own end."""
        process = start_supervisor(tmp_path / "run", ["die"], "--slurm", environment=in_job(slurm))
        wait_for(lambda: any(" requeue " in call for call in slurm.calls))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        send(process, signal.SIGTERM)
        assert process.wait(5) == 0, process.communicate()[0]

    def test_a_task_of_an_array_leaves_it_to_the_next_and_the_last_requeues_itself(
        self, tmp_path: Path, slurm: FakeSlurm
    ) -> None:
        array = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_MAX": "2"}
        code, output = self.run(slurm, tmp_path / "run", ["save"], **array, SLURM_ARRAY_TASK_ID="1")
        assert (code, slurm.calls) == (0, []) and "job 17 of the chain goes on" in output
        self.run(slurm, tmp_path / "run", ["save"], **array, SLURM_ARRAY_TASK_ID="2")
        assert slurm.calls[-1] == "scontrol requeue 17_2"

    def test_a_link_of_a_chain_leaves_it_to_the_next(self, tmp_path: Path, slurm: FakeSlurm) -> None:
        (tmp_path / "run").mkdir()
        write_launch(tmp_path / "run", Launch("slurm", jobs=["16", "17", "18"]))
        slurm.answer(squeue_out="18|PENDING|Dependency")
        code, output = self.run(slurm, tmp_path / "run", ["save"])
        assert code == 0 and "job 18 of the chain goes on" in output
        assert not any("requeue" in call for call in slurm.calls)

    @pytest.mark.parametrize("outcome, code", [("finish", 0), ("refuse", 1)])
    def test_later_links_end_at_once(self, tmp_path: Path, slurm: FakeSlurm, outcome: str, code: int) -> None:
        (tmp_path / "run").mkdir()
        write_launch(tmp_path / "run", Launch("slurm", jobs=["17", "18"], time=1.0))
        slurm.answer(squeue_out="18|PENDING|Dependency")
        self.run(slurm, tmp_path / "run", [outcome])
        before = ends(tmp_path / "run")
        assert self.run(slurm, tmp_path / "run", ["finish"], SLURM_JOB_ID="18")[0] == code
        assert ends(tmp_path / "run") == before

    def test_a_cancelled_job_stays_cancelled(self, tmp_path: Path, slurm: FakeSlurm) -> None:
        slurm.answer(squeue_out="COMPLETING None")
        code, output = self.run(slurm, tmp_path / "run", ["save"])
        assert code == 1 and "it was cancelled" in output
        assert not any("requeue" in call for call in slurm.calls)

    def test_at_the_time_limit_it_is_requeued(self, tmp_path: Path, slurm: FakeSlurm) -> None:
        slurm.answer(squeue_out="COMPLETING TimeLimit")
        self.run(slurm, tmp_path / "run", ["save"])
        assert slurm.calls[-1] == "scontrol requeue 17"

    def test_a_bad_node_is_left_out(self, tmp_path: Path, slurm: FakeSlurm) -> None:
        (tmp_path / "run").mkdir()
        write_launch(tmp_path / "run", Launch("slurm", jobs=["17"]))
        code, output = self.run(slurm, tmp_path / "run", ["bad-host:node3"])
        script = tmp_path / "run" / "job.sbatch"
        assert slurm.calls == [f"sbatch --parsable --exclude=node3 {script}"]
        assert code == 0 and "job 18 goes on without node3" in output

    def test_a_bad_node_that_is_needed_is_used(self, tmp_path: Path, slurm: FakeSlurm) -> None:
        slurm.answer(sbatch_error="Requested node configuration is not available")
        self.run(slurm, tmp_path / "run", ["bad-host:node3"])
        assert slurm.calls[-1] == "scontrol requeue 17"

    def test_an_attempt_whose_node_died_is_recorded_by_the_next(self, tmp_path: Path, slurm: FakeSlurm) -> None:
        process = start_supervisor(tmp_path / "run", ["obey"], "--slurm", environment=in_job(slurm))
        wait_for(lambda: (tmp_path / "run" / "heartbeat.json").exists())
        found = subprocess.run(["pgrep", "-f", str(tmp_path / "run" / "fake.py")], capture_output=True, text=True)
        subprocess.run(["kill", "-9", *found.stdout.split()], capture_output=True)
        process.communicate(timeout=30)
        assert not (tmp_path / "run" / "stop").exists()
        assert self.run(slurm, tmp_path / "run", ["obey", "finish"])[0] == 0
        assert [row[:2] for row in ends(tmp_path / "run")] == [(1, "lost"), (2, "finished")]
        assert ends(tmp_path / "run")[0][2] == "waiting"
