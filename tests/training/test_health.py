"""The health check on real processes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from pretrain.resilience.attempts import read_attempts
from tests.example import small_run
from tests.processes import finish, start, told, train_processes

HOST = socket.gethostname()


def on_its_own_disk(directory: Path) -> None:
    """As if rank 1 saw another file system at the same path."""
    from pretrain.training import health

    real = vars(health)["_sees"]
    vars(health)["_sees"] = lambda world, path: real(world, path) and os.environ["RANK"] != "1"


def test_what_was_measured_is_told(corpus: Path, tmp_path: Path) -> None:
    rows = train_processes(small_run(corpus, tmp_path, train={"tokens": 128}), 2)
    (line,) = [row["message"] for row in rows if row["kind"] == "event" and row["message"].startswith("health: ")]
    assert line.startswith("health: 1 machine, matmul ") and " GB/s" in line


def test_a_bad_machine_ends_the_attempt_before_the_first_step(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path)
    assert finish(start(run, 2, before=on_its_own_disk)) == [1, 1]
    message = (
        f"not fit to train: {HOST} (rank 1 on {HOST}: does not see the run directory of rank 0: it must be shared)"
    )
    assert message in told(run, 0) and message in told(run, 1)
    (attempt,) = read_attempts(tmp_path)
    assert (attempt.outcome, attempt.bad_hosts, attempt.started) == ("failed", (HOST,), None)


def test_machines_play_their_part_in_pairs(corpus: Path, tmp_path: Path) -> None:
    """Four processes that call themselves four machines."""
    run = small_run(corpus, tmp_path, train={"tokens": 128}, batch={"micro_batch_size": 1})
    rows = train_processes(run, 4, before=be_a_machine)
    (line,) = [row["message"] for row in rows if row["kind"] == "event" and row["message"].startswith("health: ")]
    assert line.startswith("health: 4 machines, matmul ") and ", between " in line


def be_a_machine(directory: Path) -> None:
    os.environ["SLURMD_NODENAME"] = f"node{os.environ['RANK']}"
