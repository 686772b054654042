"""The supervisor over a fake training: what it passes on, what it ends, when it starts again and when it gives up."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from launch.record import holder
from pretrain.cli.main import app
from pretrain.resilience.attempts import end, read_attempts
from pretrain.resilience.stop import read_stop, request_stop
from tests.launch.fakes import (
    QUICK,
    ROOT,
    FakeSlurm,
    ends,
    in_job,
    is_alive,
    send,
    start_supervisor,
    supervise,
    wait_for,
)


@pytest.mark.parametrize(
    "acts, code, outcomes",
    [
        (["finish"], 0, ["finished"]),
        (["die", "finish"], 0, ["lost", "finished"]),
        (["leave:0", "leave:75", "finish"], 0, ["lost", "lost", "finished"]),
        (["no-start", "save", "finish"], 0, ["failed", "saved", "finished"]),
        (["no-start:0", "finish"], 0, ["failed", "finished"]),  # as a DeepSpeed launcher that is killed
        (["refuse", "finish"], 2, ["refused", "gave up"]),
        (["fail"], 1, ["failed", "failed", "failed", "gave up"]),
        (["fail:disk full", "fail:loss is nan", "save", "finish"], 0, ["failed", "failed", "saved", "finished"]),
    ],
)
def test_attempts_go_on_until_there_is_nothing_more_to_do(
    tmp_path: Path, acts: list[str], code: int, outcomes: list[str]
) -> None:
    assert supervise(tmp_path / "run", acts)[0] == code
    assert [outcome for _, outcome, _ in ends(tmp_path / "run")] == outcomes


def test_what_is_recorded_for_a_training_that_could_not(tmp_path: Path) -> None:
    supervise(tmp_path / "run", ["die", "no-start", "refuse"])
    died, no_start, refused, given_up = ends(tmp_path / "run")
    assert died == (1, "lost", "IndexError: list index out of range")
    assert no_start[:2] == (2, "failed") and no_start[2].startswith("ImportError in process ")
    assert refused == (3, "refused", "batch.global_batch_size = 7; rule: must be even; fix:  8")
    assert given_up == (3, "gave up", f"refused: {refused[2]}")
    first = read_attempts(tmp_path / "run")[0]
    assert (first.last_step, first.code) == (8, 137)  # the step of its last heartbeat; SIGKILL as shells tell it


@pytest.mark.parametrize(
    "command, reason",
    [
        ([sys.executable, "missing.py"], "can't open file"),
        (["/missing/python"], "launch: /missing/python cannot be started: "),
    ],
)
def test_a_file_system_that_stutters_is_not_bad_input(tmp_path: Path, command: list[str], reason: str) -> None:
    """Exit codes 2 and 127, but no words of the training: tried again."""
    words = [sys.executable, "-m", "launch.supervise", str(tmp_path), *QUICK, "--same-failure", "2", "--", *command]
    assert subprocess.run(words, cwd=ROOT, capture_output=True, timeout=100).returncode == 1
    assert [outcome for _, outcome, _ in ends(tmp_path)] == ["failed", "failed", "gave up"]
    assert reason in ends(tmp_path)[0][2]


def test_a_crash_loop_ends_with_a_report(tmp_path: Path) -> None:
    code, output = supervise(tmp_path / "run", ["save", "die"])
    assert code == 1
    report = (tmp_path / "run" / "crash-report.txt").read_text()
    assert report in output
    assert "the same failure 3 times in a row at step 8: IndexError: list index out of range" in report
    assert "steps 7 to 8  lost: IndexError" in report
    assert "  Traceback\n  IndexError: list index out of range\n" in report
    assert "correct the cause" in report


def test_the_limit_of_restarts(tmp_path: Path) -> None:
    code, output = supervise(tmp_path / "run", ["save"], "--limit", "2")
    assert code == 1
    assert [outcome for _, outcome, _ in ends(tmp_path / "run")] == ["saved"] * 3 + ["gave up"]
    assert "restarted 2 times, resilience.restarts.limit is 2" in output


@pytest.mark.parametrize(
    "number, slurm_job, then, outcome",
    [
        (signal.SIGINT, False, "end", "stopped"),
        (signal.SIGTERM, False, "end", "stopped"),
        (signal.SIGHUP, False, "end", "stopped"),
        (signal.SIGUSR1, False, "requeue", "saved"),
        (signal.SIGINT, True, "end", "stopped"),
        (signal.SIGTERM, True, "requeue", "saved"),
        (signal.SIGUSR1, True, "requeue", "saved"),
    ],
)
def test_signals_become_requests(
    tmp_path: Path, slurm: FakeSlurm, number: signal.Signals, slurm_job: bool, then: str, outcome: str
) -> None:
    directory = tmp_path / "run"
    options = ["--slurm"] if slurm_job else []
    process = start_supervisor(directory, ["obey", "finish"], *options, environment=in_job(slurm))
    wait_for(lambda: (directory / "heartbeat.json").exists())
    send(process, number)
    if slurm_job and then == "requeue":
        wait_for(lambda: "scontrol requeue 17" in slurm.calls)
        process.kill()  # as SLURM does
    output, _ = process.communicate(timeout=30)
    assert ends(directory)[0][:2] == (1, outcome), output
    assert ends(directory)[0][2].startswith(number.name)
    assert ("scontrol requeue 17" in slurm.calls) == (slurm_job and then == "requeue")
    assert len(ends(directory)) == (2 if then == "requeue" and not slurm_job else 1)


def test_a_request_by_a_person_ends_it_between_attempts_too(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = start_supervisor(directory, ["fail"], "--same-failure", "9")
    wait_for(lambda: (directory / "attempts.jsonl").exists() and len(ends(directory)) == 2)
    request_stop(directory, "pretrain stop", "end")
    output, _ = process.communicate(timeout=30)
    assert "asked to end" in output
    assert len(ends(directory)) <= 3


def test_an_interrupt_between_attempts_ends_it(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = start_supervisor(directory, ["fail"], "--backoff", "20")
    wait_for(lambda: (directory / "attempts.jsonl").exists() and len(ends(directory)) == 1)
    time.sleep(0.5)
    result = CliRunner().invoke(app, ["cancel", str(directory)])  # which interrupts it twice
    assert result.output == f"ended {socket.gethostname()} (pid {process.pid})\n", result.exception
    assert process.wait(1) == 0 and "asked to end before attempt 2: SIGINT" in process.communicate()[0]
    assert len(ends(directory)) == 1


def test_a_launch_by_a_person_counts_anew(tmp_path: Path) -> None:
    """After two failures, the second of which a person watched and interrupted: the third is no crash loop."""
    directory = tmp_path / "run"
    process = start_supervisor(directory, ["fail"], "--backoff", "1")
    wait_for(lambda: (directory / "attempts.jsonl").exists() and len(ends(directory)) == 2)
    send(process, signal.SIGINT)
    process.wait(20)
    assert supervise(directory, ["fail", "fail", "fail", "finish"])[0] == 0
    assert [outcome for _, outcome, _ in ends(directory)] == ["failed", "failed", "failed", "finished"]


def test_a_stale_request_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    request_stop(tmp_path / "run", "of yesterday", "end")
    assert supervise(tmp_path / "run", ["finish"])[0] == 0
    assert read_stop(tmp_path / "run") is None


def test_a_deaf_command_is_ended_after_the_grace_with_all_it_started(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = start_supervisor(directory, ["deaf"], "--grace", "0.5")
    wait_for(lambda: (directory / "deaf.txt").exists())
    pids = [int(word) for word in (directory / "deaf.txt").read_text().split()]
    send(process, signal.SIGTERM)
    wait_for(lambda: process.poll() is not None, 50)
    assert ends(directory) == [(1, "lost", "did not end within 0 s of SIGTERM")]
    assert not any(is_alive(pid) for pid in pids)


def test_two_interrupts_end_it_now(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = start_supervisor(directory, ["deaf"])
    wait_for(lambda: (directory / "deaf.txt").exists())
    for _ in range(2):
        send(process, signal.SIGINT)
        time.sleep(0.6)
    wait_for(lambda: process.poll() is not None, 50)
    assert ends(directory) == [(1, "lost", "interrupted twice")]


def test_a_hanging_launcher_is_ended_on_the_verdict_of_rank_0(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = start_supervisor(directory, ["deaf:verdict", "finish"])
    wait_for(lambda: process.poll() is not None, 80)
    assert [row[:2] for row in ends(directory)] == [(1, "lost"), (2, "finished")]
    assert ends(directory)[0][2] == "rank 3 on node2 hangs in data at step 17"


def test_other_nodes_end_their_command_when_node_0_closed_the_attempt(tmp_path: Path) -> None:
    """As when torchrun there waits for a node 0 that has long gone on; each attempt has the number of the rows."""
    directory = tmp_path / "run"
    end(directory, 4, "lost", step=3, reason="node1 died")
    process = start_supervisor(directory, ["finish"] * 4 + ["deaf", "finish"], "--node=1")
    wait_for(lambda: (directory / "deaf.txt").exists())
    end(directory, 5, "saved", step=9, reason="SIGUSR1")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "attempt 5 ended, saved" in output
    assert [row[:2] for row in ends(directory)] == [(4, "lost"), (5, "saved"), (6, "finished")]


def test_logs_that_cannot_be_written_are_a_failure_to_start(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "logs").write_text("a file in the way")
    assert supervise(tmp_path / "run", ["finish"], "--same-failure", "2")[0] == 1
    assert [outcome for _, outcome, _ in ends(tmp_path / "run")] == ["failed", "failed", "gave up"]
    assert "cannot be started: " in ends(tmp_path / "run")[0][2]


@pytest.mark.parametrize("act, options", [("deaf", ["--silence", "-29.5"]), ("sleep", ["--start", "-89"])])
def test_a_command_without_heartbeat_is_ended(tmp_path: Path, act: str, options: list[str]) -> None:
    """30 s are added to the silence, and to the start the silence too."""
    directory = tmp_path / "run"
    if act == "sleep":
        command = ["--", "sleep", "600"]
        supervisor = [sys.executable, "-m", "launch.supervise", str(directory), *QUICK, *options, "--same-failure", "2"]
        done = subprocess.run([*supervisor, *command], cwd=ROOT, capture_output=True, timeout=100)
        assert done.returncode == 1
        assert ends(directory)[0] == (1, "failed", "did not start within 1 s")
        return
    process = start_supervisor(directory, [act, "finish"], *options)
    wait_for(lambda: process.poll() is not None, 80)
    number, outcome, reason = ends(directory)[0]
    assert (number, outcome) == (1, "lost") and reason.startswith("no heartbeat for ")


def test_what_ends_the_supervisor_ends_everything(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = start_supervisor(directory, ["obey"])
    wait_for(lambda: (directory / "heartbeat.json").exists())
    found = subprocess.run(["pgrep", "-f", str(directory / "fake.py")], capture_output=True, text=True)
    pids = [int(word) for word in found.stdout.split() if int(word) != process.pid]
    assert len(pids) == 2  # the keeper and the training
    process.kill()
    process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in pids))


def test_only_one_supervisor_at_a_time(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = start_supervisor(directory, ["obey"])
    wait_for(lambda: (directory / "heartbeat.json").exists())
    code, output = supervise(directory, ["finish"])
    assert code == 1 and f"(pid {process.pid}) already" in output
    who = holder(directory)
    assert who and who.pid == process.pid
    request_stop(directory, "enough", "end")
    assert process.wait(30) == 0
    assert holder(directory) is None
