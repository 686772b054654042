"""The real thing: `pretrain launch` over torchrun, with a rank that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from pretrain.monitoring.jsonl import read_rows
from tests.example import small_run
from tests.launch.fakes import ROOT, ends, wait_for
from tests.processes import SECONDS, train_processes, train_rows

STEPS = 150
"""Long enough that a kill falls inside."""


def long_run(corpus: Path, directory: Path) -> dict[str, Any]:
    return small_run(
        corpus, directory, train={"tokens": STEPS * 64}, model={"dropout": 0.0}, checkpoint={"every": "20 steps"}
    )


def launch(folder: Path, run: dict[str, Any], *arguments: str) -> subprocess.Popen[str]:
    """`pretrain launch` in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    return subprocess.Popen(
        [sys.executable, "-m", "pretrain.cli.main", "launch", "run.yaml", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_killed_rank_under_torchrun_costs_nothing(corpus: Path, tmp_path: Path) -> None:
    whole = train_processes(long_run(corpus, tmp_path / "whole"), 2)
    directory = tmp_path / "cut" / "runs" / "small"
    run = long_run(corpus, Path("runs/small"))
    process = launch(tmp_path / "cut", run, "--on", "torchrun", "--gpus-per-node", "2")
    wait_for(lambda: len(train_rows(list(read_rows(directory / "metrics.jsonl")), "loss")) > 30, SECONDS)
    found = subprocess.run(["pgrep", "-P", str(worker_parent(process.pid))], capture_output=True, text=True)
    os.kill(int(found.stdout.split()[-1]), signal.SIGKILL)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    # torchrun may end rank 0 before it speaks
    (_, outcome, reason), (_, then, _) = ends(directory)
    assert (outcome in ("failed", "lost"), then) == (True, "finished"), output
    assert reason == "rank 1 ended with exit code -9" or "ended without a word" in reason
    assert sorted(path.name for path in (directory / "logs").glob("attempt-*")) == [
        "attempt-001.log",
        "attempt-001.rank-00000.log",
        "attempt-001.rank-00001.log",
        "attempt-002.log",
        "attempt-002.rank-00000.log",
        "attempt-002.rank-00001.log",
    ]
    rows = list(read_rows(directory / "metrics.jsonl"))
    assert train_rows(rows, "loss") == train_rows(whole, "loss")
    assert len(train_rows(rows, "loss")) == STEPS


def worker_parent(pid: int) -> int:
    """torchrun's process below the supervisor: supervisor, keeper, torchrun."""
    for _ in range(2):
        pid = int(subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()[0])
    return pid
