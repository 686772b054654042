"""status, logs, stop and cancel, from the files that a run leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from launch.logs import last_words
from launch.record import Launch, write_launch
from launch.status import duration, read_status, run_directory
from launch.stop import wait_for_end
from pretrain.cli.main import app
from pretrain.config.errors import ConfigError
from pretrain.resilience.attempts import begin, end
from tests.example import small_run
from tests.launch.fakes import ROOT, FakeSlurm, ends, start_supervisor, wait_for


def row(step: int, loss: float) -> str:
    values = {"kind": "train", "step": step, "tokens": step * 64, "loss": loss, "batch_tokens": 64}
    return json.dumps({**values, "tokens_per_second": 32.0, "mfu": 0.41}) + "\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A run after a restart, at step 10 of 20."""
    run = tmp_path / "runs" / "small"
    (run / "logs").mkdir(parents=True)
    (run / "run.yaml").write_text("name: small\ntrain: {tokens: 1280}\n")
    (run / "metrics.jsonl").write_text(row(9, 5.0) + '{"kind": "event", "step": 9}\n' + row(10, 4.5) + '{"kind": "tr')
    begin(run, 1, launcher="slurm", job="17", hosts=["node1", "node2"], processes=2, step=0)
    end(run, 1, "failed", step=7, reason="rank 1 of 2 on node2 ended without a word")
    begin(run, 2, launcher="slurm", job="17", hosts=["node1", "node3"], processes=2, step=5)
    beat = {"time": time.time(), "attempt": 2, "phase": "step", "step": 10, "hosts": ["node1", "node3"]}
    slow = {"rank": 1, "host": "node3", "ratio": 1.34}
    (run / "heartbeat.json").write_text(json.dumps({**beat, "slow": [slow], "verdict": None}))
    (run / "logs" / "attempt-001.rank-00000.log").write_text("of rank 0\n")
    (run / "logs" / "attempt-001.rank-00001.log").write_text("of rank 1\n")
    (run / "logs" / "attempt-001.log").write_text("of srun\n")
    return run


def test_status(directory: Path) -> None:
    status = read_status(directory)
    assert (status.name, status.state) == ("small", "lost")
    assert (status.step, status.steps, status.tokens, status.wanted) == (10, 20, 640, 1280)
    assert (status.loss, status.tokens_per_second, status.mfu, status.seconds_left) == (4.5, 32.0, 0.41, 20.0)
    assert (status.hosts, status.slow, status.restarts) == (("node1", "node3"), ("rank 1 on node3 1.34x",), 1)
    end(directory, 2, "stopped", step=10, reason="pretrain stop")
    assert read_status(directory).state == "stopped: pretrain stop"


@pytest.mark.parametrize("torn", [b'{"kind": "tr', b"\0" * 64, b"\xff\xfe", b"[1]", b'{"kind": "train", "step": 12}'])
def test_broken_lines_of_metrics_are_passed_over(directory: Path, torn: bytes) -> None:
    with open(directory / "metrics.jsonl", "ab") as file:
        file.write(b"\n" + torn + b"\n" + row(11, 4.0).encode() + torn + b"\n")
    status = read_status(directory)
    assert (status.step, status.loss, status.seconds_left) == (11, 4.0, 18.0)


def test_status_of_a_queued_run(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSlurm(tmp_path)
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    write_launch(directory, Launch("slurm", jobs=["17"]))
    fake.answer(squeue_out="17|PENDING|BeginTime")
    status = read_status(directory)
    assert (status.state, status.jobs) == ("queued: PENDING (BeginTime)", ("17 PENDING (BeginTime)",))
    result = CliRunner().invoke(app, ["stop", str(directory)])
    assert isinstance(result.exception, ConfigError)
    assert f"its job 17 waits in the queue: pretrain cancel {directory}" in str(result.exception)
    assert CliRunner().invoke(app, ["cancel", str(directory)]).output == "cancelled job 17\n"
    assert fake.calls[-1] == "scancel 17"


def test_tables(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    one = CliRunner().invoke(app, ["status", "small"]).output
    assert "10 / 20" in one and "41.0%" in one and "rank 1 on node3 1.34x" in one
    assert "slurm job 17 on node1, node2  steps 0 to 7  failed: rank 1 of 2 on node2" in one
    every = CliRunner().invoke(app, ["status"]).output
    assert "small" in every and "4.5000" in every and "lost" in every
    plain = json.loads(CliRunner().invoke(app, ["status", "--json"]).output)
    assert (plain[0]["name"], plain[0]["seconds_left"]) == ("small", 20.0)


@pytest.mark.parametrize(
    "arguments, output",
    [
        (["--attempt", "1"], "of rank 0\nof srun\n"),
        (["--rank", "1"], "of rank 1\n"),
        ([], "of rank 0\nof srun\n"),
    ],
)
def test_logs(directory: Path, arguments: list[str], output: str) -> None:
    command = [sys.executable, "-m", "pretrain.cli.main", "logs", str(directory), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, output)


def test_logs_that_are_not_there(directory: Path) -> None:
    result = CliRunner().invoke(app, ["logs", str(directory), "--rank", "7"])
    assert "has none of attempt 1, rank 7" in str(result.exception)


def test_logs_are_followed_over_attempts(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    supervisor = start_supervisor(directory, ["die", "obey"])
    wait_for(lambda: directory.exists() and len(list(directory.glob("logs/*"))) == 2)
    command = [sys.executable, "-m", "pretrain.cli.main", "logs", str(directory), "--follow"]
    follower = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    done = subprocess.run([*command[:3], "stop", str(directory)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "attempt 2 stopped at step 9: pretrain stop"
    assert follower.communicate(timeout=30)[0] == "waiting\n"
    assert supervisor.wait(30) == 0


def test_a_stop_is_not_over_while_a_job_waits(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request came just as the job was handed on: the next one ends at once, once it starts."""
    (fake := FakeSlurm(tmp_path)).answer(squeue_out="17|PENDING|BeginTime")
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("launch.stop.QUEUED", 0.1)
    write_launch(directory, Launch("slurm", jobs=["17"]))
    end(directory, 2, "saved", step=10, reason="SIGUSR1")
    told: list[str] = []

    def tell(words: str) -> None:
        told.append(words)
        end(directory, 3, "stopped", step=10, reason="pretrain stop")

    assert wait_for_end(directory, 2, tell).number == 3
    assert told == ["  queued, to end as soon as it starts: job 17"]


def test_cancel_ends_what_does_not_listen(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    supervisor = start_supervisor(directory, ["deaf"])
    wait_for(lambda: (directory / "deaf.txt").exists())
    result = CliRunner().invoke(app, ["cancel", str(directory)])
    assert result.exit_code == 0 and f"(pid {supervisor.pid})" in result.output
    assert supervisor.wait(10) == 1
    assert ends(directory) == [(1, "lost", "interrupted twice")]
    again = CliRunner().invoke(app, ["cancel", str(directory)])
    assert "must be supervised or queued" in str(again.exception)


def test_which_run_is_meant(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_directory("small") == Path("runs/small")
    assert run_directory(str(directory)) == directory
    with pytest.raises(ConfigError, match="has no run directory runs/gpt3-125m yet"):
        run_directory("gpt3-125m")
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        run_directory("smal")
    with pytest.raises(ConfigError, match="`pretrain status` lists them"):
        run_directory("elsewhere")


WAITED = "pretrain: rank 3 of 4 ended; this rank was waiting for it and is ended\n"
TORCHRUN = "Root Cause\n rank : 1 (local_rank: 1)\n exitcode : -9 (pid: 7)\n"


@pytest.mark.parametrize(
    "logs, words",
    [
        ({"rank-00000": WAITED, "rank-00003": "pretrain: disk full\n"}, "disk full"),
        ({"rank-00000": "step 3 loss 5\n", "rank-00001": "Traceback\nValueError: no\n"}, "ValueError: no"),
        ({"rank-00000": "step 3\n", "": TORCHRUN}, "rank 1 ended with exit code -9"),
        ({"": "srun: error: node2: task 3: Killed\n"}, "task 3 on node2: Killed"),
        ({"": "x exits with return code = -9\n"}, "a rank ended with exit code -9"),
        ({"rank-00000": "step       3  192 tokens  loss 5.3444\n"}, ""),
        ({"rank-00000": "step       3  192 tokens\n", "rank-00001": "Bus error\n"}, "Bus error"),
        ({"rank-00000": "[W1127 19:08:34.830777643 socket.cpp:207] [c10d] The hostname cannot be retrieved\n"}, ""),
        ({}, ""),
    ],
)
def test_last_words(tmp_path: Path, logs: dict[str, str], words: str) -> None:
    (tmp_path / "logs").mkdir()
    for name, text in logs.items():
        (tmp_path / "logs" / f"attempt-001{name and '.'}{name}.log").write_text(text)
    assert last_words(tmp_path, 1)[0] == words


@pytest.mark.parametrize(
    "seconds, text", [(40, "40 s"), (720, "12 min"), (12000, "3 h 20 min"), (187_200, "2 days 4 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_dry_run_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(small_run(corpus, Path("runs/small"))))
    command = [sys.executable, "-m", "pretrain.cli.main", "launch", "run.yaml", "--on", "local", "--gpus-per-node"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "2", "--dry-run"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--- runs/small/launch.sh\n#!/bin/bash" in done.stdout and "--- runs/small/rank.sh" in done.stdout
    assert "node 0  local 1  rank 1  pipe 0 data 1 tensor 0" in done.stdout
    bad = subprocess.run([*command, "8"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert bad.returncode == 2 and bad.stderr.count("batch.global_batch_size = 4") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_a_run_directory_may_lie_anywhere(corpus: Path, tmp_path: Path) -> None:
    """Not only below the folder in which the command is typed."""
    slurm, elsewhere = FakeSlurm(tmp_path), tmp_path / "elsewhere" / "small"
    slurm.answer(sbatch_out="17", sinfo_out="node1|gpu*|gpu:8|64|infinite|idle")
    (folder := tmp_path / "here").mkdir()
    (folder / "run.yaml").write_text(yaml.safe_dump(small_run(corpus, elsewhere)))
    command = [sys.executable, "-m", "pretrain.cli.main", "launch", "run.yaml", "--on", "slurm"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **slurm.environment}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"queued as job 17: {elsewhere}/job.sbatch" in done.stdout
