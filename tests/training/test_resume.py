"""P3 on one machine: a killed run goes on and its loss is the undisturbed run's, bit for bit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from pretrain.checkpoint.files import list_checkpoints
from pretrain.checkpoint.state import read_state
from pretrain.monitoring.jsonl import read_rows
from pretrain.resilience.attempts import decide, read_attempts
from pretrain.resilience.stop import Then, request_stop
from tests.example import small_run
from tests.processes import finish, kill, start, train_processes, train_rows
from tests.processes import told as printed


def write_slowly(directory: Path) -> None:
    """Most kills then come while a checkpoint is being written."""
    from pretrain.checkpoint import rank

    whole = rank.save_tensors

    def save(*args: Any) -> Any:
        time.sleep(0.01)
        return whole(*args)

    rank.save_tensors = save


def wait_for_steps(run: dict[str, Any], steps: int, children: list[BaseProcess]) -> None:
    """Until metrics.jsonl shows a step >= `steps`, or a process has ended."""
    path, until = Path(run["directory"]) / "metrics.jsonl", time.monotonic() + 60
    while time.monotonic() < until and all(child.is_alive() for child in children):
        if any(row["step"] >= steps for row in read_rows(path) if row["kind"] == "train"):
            return
        time.sleep(0.005)


def newest_step(run: dict[str, Any]) -> int:
    found = list_checkpoints(Path(run["directory"]) / "checkpoints")
    return read_state(found[0]).step if found else 0


def validations(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All of each validation but the time that it took."""
    return [{**row, "validation_seconds": 0} for row in rows if row["kind"] == "validation"]


def kill_at_random(corpus: Path, tmp_path: Path, processes: int, kills: int, changes: dict[str, Any]) -> int:
    """Kill a run so often, and hold it against one that was left alone; how many kills broke off a checkpoint."""
    steps = 32 * kills
    changes = {
        "train": {"tokens": steps * 4 * 16, "validate_every": "10 steps"},
        **changes,
        "checkpoint": {"every": "3 steps", "keep_last": 2},
    }
    whole = train_processes(small_run(corpus, tmp_path / "whole", **changes), processes)
    run = small_run(corpus, tmp_path / "killed", **changes)
    moments, halves = random.Random(processes), 0
    for _ in range(kills):
        children = start(run, processes, before=write_slowly)
        wait_for_steps(run, newest_step(run) + moments.randrange(1, 16), children)
        time.sleep(moments.random() * 0.05)
        kill(children)
        halves += bool(list((tmp_path / "killed" / "checkpoints").glob("*.tmp")))
    assert 0 < newest_step(run) < steps, "the kills must come in the middle of the run"
    rows = train_processes(run, processes)
    assert "going on from" in printed(run)
    assert len(train_rows(whole, "loss")) == steps
    for column in ("step", "loss", "grad_norm", "learning_rate"):
        assert train_rows(rows, column) == train_rows(whole, column)
    assert validations(rows) == validations(whole)
    states = [read_state(list_checkpoints(tmp_path / name / "checkpoints")[0]) for name in ("whole", "killed")]
    assert states[0].order_hash == states[1].order_hash
    return halves


@pytest.mark.parametrize(
    ("processes", "zero", "kills"),
    [(1, 1, 5), (2, 2, 5), *(pytest.param(size, size, 20, marks=pytest.mark.slow) for size in (1, 2))],
)
def test_kill_minus_nine_at_random_moments(
    corpus: Path, tmp_path: Path, told: Callable[..., None], processes: int, zero: int, kills: int
) -> None:
    """Of writing, one after the other, of all ranks: each time the newest whole checkpoint is used; same curve."""
    halves = kill_at_random(corpus, tmp_path, processes, kills, {"parallel": {"zero": zero}})
    assert halves, "some kills must come in the middle of a checkpoint"
    told(f"{kills} kills, {halves} of them while a checkpoint was being written")


@pytest.mark.parametrize(
    ("number", "code", "outcome"),
    [(signal.SIGTERM, 75, "saved"), (signal.SIGUSR1, 75, "saved"), (signal.SIGINT, 0, "stopped")],
)
def test_a_signal_saves_and_ends(corpus: Path, tmp_path: Path, number: signal.Signals, code: int, outcome: str) -> None:
    """Sent to one of two ranks: both stop after the same step, with a code that says whether there is more to do."""
    run = small_run(corpus, tmp_path, train={"tokens": 20_000 * 4 * 16})
    children = start(run, 2)
    wait_for_steps(run, 5, children)
    assert children[1].pid is not None
    os.kill(children[1].pid, number)
    assert finish(children) == [code, code]
    rows = list(read_rows(tmp_path / "metrics.jsonl"))
    last = train_rows(rows, "step")[-1]
    assert 5 <= last < 20_000
    assert newest_step(run) == last
    assert "a signal to another rank: saving and ending" in printed(run)
    (attempt,) = read_attempts(tmp_path)
    assert (attempt.outcome, attempt.last_step, attempt.first_step, attempt.processes) == (outcome, last, 0, 2)


@pytest.mark.parametrize(("then", "code"), [("end", 0), ("requeue", 75)])
def test_a_request_in_the_run_directory_saves_and_ends(corpus: Path, tmp_path: Path, then: Then, code: int) -> None:
    run = small_run(corpus, tmp_path, train={"tokens": 20_000 * 4 * 16})
    children = start(run, 2)
    wait_for_steps(run, 5, children)
    request_stop(tmp_path, "the queue wants its nodes back", then)
    assert finish(children) == [code, code]
    assert "the queue wants its nodes back: saving and ending" in printed(run)
    assert newest_step(run) == read_attempts(tmp_path)[0].last_step
    assert not (tmp_path / "stop").exists()


def test_attempts_tell_the_life_of_a_run(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path, train={"tokens": 20_000 * 4 * 16}, checkpoint={"every": "5 steps"})
    children = start(run, 1)
    wait_for_steps(run, 7, children)
    kill(children)
    step = newest_step(run)
    assert finish(start(run, 1, [f"train.tokens={(step + 3) * 64}"])) == [0]
    first, second = read_attempts(tmp_path)
    assert (first.outcome, first.first_step, first.last_step) == (None, 0, None)
    assert (second.outcome, second.first_step, second.last_step) == ("finished", step, step + 3)
    assert second.hosts == (socket.gethostname(),) and second.launcher == "local"


def test_a_finished_run_does_not_start_again(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path)
    before = train_processes(run, 1)
    assert train_processes(run, 1) == before
    assert "small is finished: 20 steps, 1,280 tokens" in printed(run)
    _, again = read_attempts(tmp_path)
    assert (again.outcome, again.first_step, again.last_step, again.processes) == ("finished", 20, 20, 1)
    assert decide([again], 100, 3).action == "done"


def test_a_longer_run_goes_on_and_says_what_changed(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path, schedule={"name": "constant"})
    train_processes(run, 1)
    rows = train_processes(run, 1, ["train.tokens=2560"])
    assert train_rows(rows, "step") == list(range(1, 41))
    assert "changed since the last start: train.tokens: 1280 -> 2560" in printed(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.seed=5", "its first 20 steps had another data plan"),
        ("model.heads=2", "is of another model"),
        ("batch.global_batch_size=8", "had another data plan"),
    ],
)
def test_another_run_is_refused(corpus: Path, tmp_path: Path, change: str, message: str) -> None:
    run = small_run(corpus, tmp_path)
    train_processes(run, 1)
    assert finish(start(run, 1, [change])) == [2]
    assert message in printed(run)


def test_a_checkpoint_of_another_run_is_refused(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path)
    train_processes(run, 1)
    (tmp_path / "run_id").write_text("another")
    assert finish(start(run, 1)) == [2]
    assert "was written by another run" in printed(run)


def test_what_was_not_served_yet_may_be_skipped(corpus: Path, tmp_path: Path) -> None:
    """As the message of a diverged run proposes; the third step from there begins behind the window."""
    run = small_run(corpus, tmp_path, schedule={"name": "constant"})
    train_processes(run, 1)
    window = "data.skip=[{first_sample: 84, samples: 6}]"
    rows = train_processes(run, 1, ["train.tokens=1920", window])
    assert train_rows(rows, "first_sample")[18:24] == [72, 76, 80, 90, 94, 98]


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_settings_of_the_optimizer_may_change(corpus: Path, tmp_path: Path, zero: int) -> None:
    """DeepSpeed brings back the checkpoint's own; what the run says now must count."""
    run = small_run(corpus, tmp_path / "first", schedule={"name": "constant"}, parallel={"zero": zero})
    train_processes(run, 1)
    losses = {}
    for change in ("optimizer.clip=1.0", "optimizer.clip=0.001", "optimizer.weight_decay=50", "optimizer.betas=[0, 0]"):
        shutil.copytree(tmp_path / "first", copy := tmp_path / str(len(losses)))
        moved = {**run, "directory": str(copy)}
        losses[change] = train_rows(train_processes(moved, 1, ["train.tokens=1600", change]), "loss")
    same, *others = losses.values()
    for other in others:
        assert other[:21] == same[:21]
        assert other[21:] != same[21:]


def test_a_directory_in_use_is_refused(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path, train={"tokens": 20_000 * 4 * 16})
    first = start(run, 1)
    wait_for_steps(run, 1, first)
    second = {**run, "directory": str(tmp_path / ".")}
    codes = finish(start(second, 1))
    kill(first)
    assert codes == [2]
    assert "is in use by a running train" in printed(run)


def test_what_changed_once_may_be_restarted_again(corpus: Path, tmp_path: Path) -> None:
    """Checkpoints tell the layout and the plan they were written with, not those that the run began with."""
    run = small_run(corpus, tmp_path, schedule={"name": "constant"}, model={"dropout": 0.0})
    train_processes(run, 1)
    changed = ["parallel.zero=3", "data.skip=[{first_sample: 84, samples: 6}]"]
    train_processes(run, 2, ["train.tokens=1600", *changed])
    rows = train_processes(run, 2, ["train.tokens=1920", *changed])
    assert train_rows(rows, "first_sample")[18:] == [72, 76, 80, *range(90, 126, 4)]
    again = [row["message"] for row in rows if row["kind"] == "event" and row["step"] == 25]
    assert any("going on from" in message for message in again) and not any("is read as" in m for m in again)
