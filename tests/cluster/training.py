"""A run on the test cluster: starting it, finding its ranks, hurting it, and comparing what came of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pretrain.checkpoint.files import list_checkpoints
from pretrain.checkpoint.state import read_state
from pretrain.monitoring.jsonl import read_rows
from tests.cluster.faults import write_site
from tests.cluster.machine import Machine, command_of, environment_of
from tests.cluster.slurm import Cluster, wait_for
from tests.example import small_run
from tests.processes import train_processes, train_rows

RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
"""Variables that tell a process its rank, the nearest launcher's first."""
SECONDS = 200.0
"""After which a run of a few steps is taken to hang."""


class Curve(NamedTuple):
    """What must be the same again after faults."""

    losses: list[float]
    norms: list[float]
    order_hash: str
    """Of all samples that were trained on, in their order."""


class Rank(NamedTuple):
    """A training process, seen from outside."""

    rank: int
    node: Machine
    pid: int


@dataclass(frozen=True)
class Training:
    """One run directory on the cluster."""

    cluster: Cluster
    run: dict[str, Any]
    environment: dict[str, str]

    @property
    def directory(self) -> Path:
        return Path(self.run["directory"])

    @cached_property
    def path(self) -> Path:
        """The YAML file."""
        (path := self.directory.parent / f"{self.directory.name}.yaml").write_text(yaml.safe_dump(self.run))
        return path

    def start(self, *command: str, on: Machine | None = None) -> subprocess.Popen[bytes]:
        """Start a command, on the login machine unless said otherwise; what it says goes to `output`."""
        return (on or self.cluster.login).popen(command, self.environment, self.output)

    def train(self, *command: str, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """Start a command and wait until it ends well; returns the rows of metrics.jsonl. Shows its output if not."""
        process = self.start(*command)
        assert finish([process], seconds) == [0], self.told()
        return self.rows()

    @property
    def output(self) -> Path:
        """What the launcher and, with most launchers, the ranks print."""
        return self.directory.parent / f"{self.directory.name}.txt"

    def told(self) -> str:
        return self.output.read_text(errors="replace")

    def rows(self) -> list[dict[str, Any]]:
        return list(read_rows(self.directory / "metrics.jsonl"))

    def step(self) -> int:
        """The last step whose metrics are written."""
        return max((row["step"] for row in self.rows() if row["kind"] == "train"), default=0)

    def wait_for_step(self, step: int, seconds: float = SECONDS) -> None:
        """Until metrics.jsonl has reached `step`. Raises TimeoutError with what was printed."""
        try:
            wait_for(lambda: self.step() >= step, seconds, f"step {step}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it stands at {self.step()}:\n{self.told()}") from None

    def ranks(self) -> list[Rank]:
        """All training processes that now run on any machine."""
        machines = (self.cluster.login, *self.cluster.nodes)
        found = [_rank_of(machine, pid) for machine in machines for pid in machine.foreign()]
        return sorted((rank for rank in found if rank is not None), key=lambda rank: rank.rank)

    def rank(self, number: int) -> Rank:
        """The process of a rank. Raises LookupError when it does not run."""
        for rank in self.ranks():
            if rank.rank == number:
                return rank
        raise LookupError(f"rank {number} does not run")

    def kill(self, number: int, with_signal: signal.Signals = signal.SIGKILL) -> Rank:
        """Send a signal to one rank, kill -9 by default; returns where it was."""
        rank = self.rank(number)
        os.kill(rank.pid, with_signal)
        return rank

    def curve(self) -> Curve:
        """Of the whole run, from its metrics and its last checkpoint."""
        return curve_of(self.run)


def make_training(cluster: Cluster, corpus: Path, name: str, step_seconds: float = 0, **changes: Any) -> Training:
    """The small run without dropout, for 1, 2 or 4 processes, on a directory that all nodes see."""
    directory = cluster.runs(name) / "run"
    run = small_run(corpus, directory, **{"model": {"dropout": 0}, "batch": {"micro_batch_size": 1}, **changes})
    environment = dict(cluster.environment)
    if step_seconds:
        environment["PYTHONPATH"] = write_site(directory.parent / "site", step_seconds)
    return Training(cluster, run, environment)


def undisturbed(
    training: Training, processes: int, directory: Path, before: Callable[[Path], None] | None = None
) -> Curve:
    """What comes of the run in as many processes of this machine when nothing but `before` happens to it."""
    run = {**training.run, "directory": str(directory)}
    train_processes(run, processes, before=before)
    return curve_of(run)


def curve_of(run: dict[str, Any]) -> Curve:
    """Read it from the run directory. Raises AssertionError when a step is missing or written twice."""
    directory = Path(run["directory"])
    rows = list(read_rows(directory / "metrics.jsonl"))
    assert train_rows(rows, "step") == list(range(1, len(train_rows(rows, "step")) + 1))
    newest = read_state(list_checkpoints(directory / "checkpoints")[0])
    return Curve(train_rows(rows, "loss"), train_rows(rows, "grad_norm"), newest.order_hash)


def finish(processes: Sequence[subprocess.Popen[bytes]], seconds: float = SECONDS) -> list[int | None]:
    """The exit codes of all; None for one that hangs, which is killed."""
    codes: list[int | None] = []
    for process in processes:
        try:
            codes.append(process.wait(seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            codes.append(None)
    return codes


def nothing_left(cluster: Cluster, seconds: float = 30, machines: Iterable[Machine] | None = None) -> None:
    """Wait until none of the processes that jobs and logins started is left. Raises AssertionError naming them."""
    watched = list(machines or (cluster.login, *cluster.nodes))
    try:
        wait_for(lambda: not any(machine.foreign() for machine in watched), seconds, "processes to end")
    except TimeoutError:
        raise AssertionError(f"left after {seconds:g} s: {cluster.foreign()}") from None


def _rank_of(node: Machine, pid: int) -> Rank | None:
    """The rank that a process is, if it trains: not the launchers around it, which carry the same words."""
    words, variables = command_of(pid), environment_of(pid)
    if not _trains(words):
        return None
    number = next((variables[name] for name in RANKS if name in variables), "0")
    return Rank(int(number), node, pid)


def _trains(words: Sequence[str]) -> bool:
    """`python [-u] -m pretrain.train ...` or `python [-u] .../pretrain/train.py ...`."""
    rest = [word for word in words[1:] if word != "-u"]
    if not words or "python" not in Path(words[0]).name or not rest:
        return False
    return rest[:2] == ["-m", "pretrain.train"] or rest[0].endswith("pretrain/train.py")
