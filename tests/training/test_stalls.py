"""A rank that hangs: found, named, stacks written, nobody left. And a slow one is named."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pretrain.resilience.attempts import read_attempts
from tests.example import small_run
from tests.processes import finish, start, told, train_processes

LIMITS = {"start": 60, "data": 3, "step": 6, "checkpoint": 3, "validation": 3, "silence": 5}
HOST = socket.gethostname()


def at_step(step: int, act: Callable[[], object], owner: Any, name: str) -> None:
    """Have rank 1 do something else at the n-th call of a function."""
    if os.environ["RANK"] != "1":
        return
    real, calls = getattr(owner, name), [0]

    def call(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == step:
            act()
        return real(*arguments, **named)

    setattr(owner, name, call)


def sleep_in_data(directory: Path) -> None:
    from pretrain.data.loader import Loader

    at_step(5, lambda: time.sleep(1000), Loader, "__next__")


def sleep_in_step(directory: Path) -> None:
    from pretrain.parallel import runner

    at_step(3, lambda: time.sleep(1000), runner.Whole, "accumulate")


def sleep_in_checkpoint(directory: Path) -> None:
    from pretrain.checkpoint.save import Saver

    at_step(1, lambda: time.sleep(1000), Saver, "save")


def freeze(directory: Path) -> None:
    from pretrain.parallel import runner

    at_step(3, lambda: os.kill(os.getpid(), signal.SIGSTOP), runner.Whole, "accumulate")


@pytest.mark.parametrize(
    ("fault", "place", "words", "limit"),
    [
        (sleep_in_data, "data at step 5", "stands at test_stalls.py", 3),
        (sleep_in_step, "step at step 3", "stands at test_stalls.py", 6),
        (sleep_in_checkpoint, "checkpoint at step 2", "stands at test_stalls.py", 3),
    ],
)
def test_a_rank_that_hangs(
    fault: Callable[[Path], None], place: str, words: str, limit: int, corpus: Path, tmp_path: Path
) -> None:
    run = small_run(
        corpus, tmp_path, resilience={"stall": LIMITS}, checkpoint={"every": "2 steps"}, data={"prefetch": 0}
    )
    children = start(run, 2, before=fault)
    assert finish(children) == [1, 1]
    for rank in (0, 1):
        assert f"rank 1 of 2 on {HOST} hangs in {place} for" in told(run, rank)
        stacks = (tmp_path / "logs" / f"stacks-attempt-001.rank-{rank:05d}.txt").read_text()
        assert f"hangs in {place}" in stacks and "Thread 0x" in stacks
    assert "in call" in (tmp_path / "logs" / "stacks-attempt-001.rank-00001.txt").read_text()
    (attempt,) = read_attempts(tmp_path)
    assert attempt.outcome == "failed" and words in attempt.reason
    seconds = float(attempt.reason.split(" for ")[1].split(" s ")[0])
    assert limit <= seconds <= limit + 10
    assert f"hangs in {place}" in json.loads((tmp_path / "heartbeat.json").read_text())["verdict"]


def test_a_rank_that_is_frozen(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path, resilience={"stall": LIMITS})
    children = start(run, 2, before=freeze)
    children[0].join(60)
    assert children[0].exitcode == 1
    children[1].kill()  # as a launcher does with those that are left
    assert finish(children)[1] == -signal.SIGKILL
    assert f"rank 1 of 2 on {HOST} said nothing for 5 s, last in" in told(run, 0)


def be_slow(directory: Path) -> None:
    from pretrain.model.transformer import Transformer

    if os.environ["RANK"] == "1":
        real = Transformer.forward

        def slow(self: Any, *arguments: Any) -> Any:
            time.sleep(0.2)
            return real(self, *arguments)

        Transformer.forward = slow


def test_a_slow_rank_is_named(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path, resilience={"stragglers": {"window": 4, "windows": 2, "ratio": 2}})
    rows = train_processes(run, 2, before=be_slow)
    events = [row["message"] for row in rows if row["kind"] == "event"]
    assert sum(f"rank 1 on {HOST} is slow" in message for message in events) == 1
