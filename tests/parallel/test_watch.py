"""A run that breaks names the rank to look at, and no rank hangs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pretrain.parallel import watch
from tests.example import small_run
from tests.processes import finish, start, told


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ([["2", "OSError: disk"], ["0", "RuntimeError: peer"], ["1"]], "rank 2 of 4 failed first: OSError: disk"),
        ([["0", "Error: peer"], ["3", watch.CUT]], "rank 3 of 4 ended without a word (killed, or out of memory)"),
        ([["0", watch.DONE], ["1"]], watch.DONE),
        ([["0", watch.DONE], ["1", "ValueError: x", watch.CUT]], "rank 1 of 4 failed first: ValueError: x"),
    ],
)
def test_verdict(said: list[list[str]], verdict: str) -> None:
    assert watch._verdict(said, 4) == verdict


def instead_of_opening(act: Callable[[], object]) -> None:
    """Have rank 1 do something else when it opens its session: after the process group, before the first step."""
    from pretrain.training import run

    opened = vars(run)["open_session"]

    def open_or_act(*arguments: object) -> object:
        if os.environ["RANK"] == "1":
            act()
        return opened(*arguments)

    vars(run)["open_session"] = open_or_act


def be_killed(directory: Path) -> None:
    instead_of_opening(lambda: os.kill(os.getpid(), signal.SIGKILL))


def meet_a_bug(directory: Path) -> None:
    instead_of_opening(lambda: os.environ.__getitem__("a bug"))


def test_a_rank_that_is_killed_during_start_up(corpus: Path, tmp_path: Path) -> None:
    """The others are forming groups then, where nothing else would notice."""
    run = small_run(corpus, tmp_path, parallel={"tensor": 2})
    started = time.monotonic()
    assert finish(start(run, 4, before=be_killed)) == [1, -signal.SIGKILL, 1, 1]
    assert time.monotonic() - started < 60
    for rank in (0, 2, 3):
        assert "rank 1 of 4 ended without a word" in told(run, rank)


def test_a_rank_that_fails_during_start_up(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path)
    assert finish(start(run, 2, before=meet_a_bug)) == [1, 1]
    for rank in (0, 1):
        assert "rank 1 of 2 failed first: KeyError: 'a bug'" in told(run, rank)
