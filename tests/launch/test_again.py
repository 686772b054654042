"""How a SLURM job has its run started again: the supervisor as a batch script, over a SLURM that only answers."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from launch.again import by_a_person
from launch.record import Launch, write_launch
from pretrain.resilience.attempts import read_attempts
from pretrain.resilience.stop import request_stop
from tests.launch.fakes import FakeSlurm, ends, in_job, send, start_supervisor, wait_for


class TestUnderSlurm:
    def run(
        self, slurm: FakeSlurm, directory: Path, acts: list[str], *options: str, **environment: str
    ) -> tuple[int, str]:
        """Until the supervisor ends, or would wait for SLURM to end it."""
        process = start_supervisor(directory, acts, "--slurm", *options, environment=in_job(slurm, **environment))
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

    def test_a_bad_node_is_left_out_beside_those_that_the_user_left_out(self, tmp_path: Path, slurm: FakeSlurm) -> None:
        """sbatch --exclude stands instead of the script's own."""
        directory = tmp_path / "run"
        directory.mkdir()
        write_launch(directory, Launch("slurm", jobs=["17"]))
        self.run(slurm, directory, ["bad-host:node3"], "--exclude=node[7,9]")
        assert slurm.calls == [f"sbatch --parsable --exclude=node[7,9],node3 {directory / 'job.sbatch'}"]

    def test_a_bad_node_is_left_out_by_all_later_links(self, tmp_path: Path, slurm: FakeSlurm) -> None:
        directory = tmp_path / "run"
        directory.mkdir()
        write_launch(directory, Launch("slurm", jobs=["17", "18", "19"]))
        slurm.answer(squeue_out="18|PENDING|Dependency\n19|PENDING|Dependency", scontrol_error="no such job")
        code, output = self.run(slurm, directory, ["bad-host:node3"], "--exclude=node7")
        assert slurm.calls[-2:] == [f"scontrol update JobId={job} ExcNodeList=node7,node3" for job in (18, 19)]
        assert code == 0 and "job 18 of the chain goes on" in output


class TestAStopRequest:
    """`pretrain stop` while one job of a run hands it on to another."""

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        (tmp_path / "run").mkdir()
        write_launch(tmp_path / "run", Launch("slurm", jobs=["17"], time=time.time()))
        return tmp_path / "run"

    def test_takes_a_requeued_job_back(self, directory: Path, slurm: FakeSlurm) -> None:
        process = start_supervisor(directory, ["save"], "--slurm", environment=in_job(slurm))
        wait_for(lambda: "scontrol requeue 17" in slurm.calls)
        request_stop(directory, "pretrain stop", "end")
        output, _ = process.communicate(timeout=20)
        assert slurm.calls[-1] == "scancel 17" and "taken back, asked to end: pretrain stop" in output

    def test_takes_a_chain_back(self, directory: Path, slurm: FakeSlurm) -> None:
        write_launch(directory, Launch("slurm", jobs=["17", "18", "19"]))
        slurm.answer(squeue_out="18|PENDING|Dependency\n19|PENDING|Dependency", squeue_sleep="1")
        process = start_supervisor(directory, ["save"], "--slurm", environment=in_job(slurm))
        wait_for(lambda: len(slurm.calls) > 0)
        request_stop(directory, "pretrain stop", "end")
        process.communicate(timeout=20)
        assert slurm.calls[-1] == "scancel 18 19"

    @pytest.mark.parametrize("restarts, outcomes", [("1", []), ("0", [(1, "finished", "")])])
    def test_is_kept_for_the_next_start(
        self, directory: Path, slurm: FakeSlurm, restarts: str, outcomes: list[tuple[int, str, str]]
    ) -> None:
        """Of a job that SLURM starts again; a job that a person submitted by hand has no earlier wish."""
        write_launch(directory, Launch("slurm", jobs=[] if restarts == "0" else ["17"], time=time.time()))
        request_stop(directory, "pretrain stop", "end")
        environment = in_job(slurm, SLURM_RESTART_COUNT=restarts)
        process = start_supervisor(directory, ["finish"], "--slurm", environment=environment)
        output, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert ("asked to end before attempt 1: pretrain stop" in output) == (not outcomes)
        assert (ends(directory) if outcomes else []) == outcomes
        assert (directory / "attempts.jsonl").exists() == bool(outcomes)

    def test_of_before_the_launch_is_cleared(self, directory: Path, slurm: FakeSlurm) -> None:
        request_stop(directory, "of yesterday", "end")
        write_launch(directory, Launch("slurm", jobs=["17"], time=time.time() + 1))
        process = start_supervisor(directory, ["finish"], "--slurm", environment=in_job(slurm))
        process.communicate(timeout=20)
        assert ends(directory) == [(1, "finished", "")]


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"SLURM_JOB_ID": "17"}, True),
        ({"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "2"}, False),
        ({"SLURM_JOB_ID": "18"}, False),  # a later link, or a new job without bad nodes
        ({"SLURM_JOB_ID": "23"}, True),  # sbatch by hand
        ({"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "1"}, True),
        ({"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "1"}, False),
    ],
)
def test_who_started_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    write_launch(tmp_path, Launch("slurm", jobs=["17", "18"]))
    assert by_a_person(tmp_path) == expected


def test_restarts_are_counted_anew_only_when_a_person_starts_the_run(tmp_path: Path, slurm: FakeSlurm) -> None:
    (tmp_path / "run").mkdir()
    write_launch(tmp_path / "run", Launch("slurm", jobs=["17"]))
    for count, job in [("0", "17"), ("1", "17"), ("0", "23"), ("1", "23")]:  # the second job by hand, after scancel
        environment = in_job(slurm, SLURM_JOB_ID=job, SLURM_RESTART_COUNT=count)
        process, seen = start_supervisor(tmp_path / "run", ["die"], "--slurm", environment=environment), slurm.calls
        wait_for(lambda seen=seen: any(" requeue " in call for call in slurm.calls[len(seen) :]))  # type: ignore[misc]
        process.terminate()
        assert process.wait(20) == 0
    assert [attempt.followed for attempt in read_attempts(tmp_path / "run")] == [False, True, False, False]
    assert not any(attempt.gave_up for attempt in read_attempts(tmp_path / "run"))
