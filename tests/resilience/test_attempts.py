"""attempts.jsonl and what follows from it; the stop request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pretrain.resilience.attempts import (
    Attempt,
    Decision,
    Outcome,
    begin,
    decide,
    end,
    give_up,
    next_attempt,
    normalised,
    read_attempts,
)
from pretrain.resilience.stop import clear_stop, read_stop, request_stop


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert next_attempt(tmp_path) == 1
    begin(tmp_path, 1, launcher="slurm", job="17", hosts=["node1", "node2"], processes=4, step=0)
    assert next_attempt(tmp_path) == 2
    end(tmp_path, 1, "failed", step=7, reason="rank 3 died", bad_hosts=["node2"])
    end(tmp_path, 1, "lost", step=None, reason="said later by the supervisor", code=1)
    end(tmp_path, 2, "refused", step=None, reason="bad input", code=2)
    give_up(tmp_path, 2, "bad input")
    first, second = read_attempts(tmp_path)
    assert (first.number, first.launcher, first.job, first.hosts, first.processes) == (
        1, "slurm", "17", ("node1", "node2"), 4,
    )  # fmt: skip
    assert (first.first_step, first.last_step, first.outcome, first.reason) == (0, 7, "failed", "rank 3 died")
    assert (first.bad_hosts, first.code, first.gave_up) == (("node2",), None, "")
    assert (second.started, second.outcome, second.code, second.gave_up) == (None, "refused", 2, "bad input")
    assert next_attempt(tmp_path) == 3


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    begin(tmp_path, 1, launcher="local", job="", hosts=["here"], processes=1, step=0)
    with open(tmp_path / "attempts.jsonl", "a") as file:
        file.write('{"event": "end", "attempt": 1, "ti')
    end(tmp_path, 1, "saved", step=3, reason="SIGTERM")
    (attempt,) = read_attempts(tmp_path)
    assert (attempt.outcome, attempt.last_step) == ("saved", 3)
    assert len((tmp_path / "attempts.jsonl").read_text().splitlines()) == 3


def _ended(*ends: tuple[Outcome, int | None, str]) -> list[Attempt]:
    return [
        Attempt(number + 1, started=1.0, ended=2.0, first_step=0, outcome=outcome, last_step=step, reason=reason)
        for number, (outcome, step, reason) in enumerate(ends)
    ]


OOM = "rank 3 of 8 failed first: OutOfMemoryError: tried to allocate 2.50 GiB, process 4711 at 0x7f3a"
OOM_AGAIN = "rank 5 of 8 failed first: OutOfMemoryError: tried to allocate 2.25 GiB, process 9921 at 0x7f00"


@pytest.mark.parametrize(
    "ends, action",
    [
        ([("finished", 20, "finished")], "done"),
        ([("stopped", 7, "a person's wish")], "done"),
        ([("saved", 7, "SIGUSR1")], "restart"),
        ([("failed", 7, OOM)], "restart"),
        ([("lost", None, "ended without a word")], "restart"),
        ([("refused", None, "batch.global_batch_size = 7")], "give up"),
        ([("failed", 7, OOM), ("failed", 7, OOM_AGAIN)], "restart"),
        ([("failed", 7, OOM), ("failed", 7, OOM_AGAIN), ("failed", 7, OOM)], "give up"),
        ([("failed", 7, OOM), ("failed", 9, OOM), ("failed", 7, OOM)], "restart"),
        ([("failed", 7, OOM), ("failed", 7, "disk full"), ("failed", 7, OOM)], "restart"),
        ([("failed", 7, OOM), ("saved", 7, "SIGTERM"), ("failed", 7, OOM)], "restart"),
        ([("saved", 7, "SIGTERM")] * 3, "restart"),
        ([("saved", 7, "SIGTERM")] * 5, "restart"),
        ([("saved", 7, "SIGTERM")] * 6, "give up"),  # limit 5
        ([("saved", 7, "SIGTERM")] * 5 + [("stopped", 9, "")] + [("saved", 11, "SIGTERM")], "restart"),
        ([], "restart"),
    ],
)
def test_decide(ends: list[tuple[Outcome, int | None, str]], action: str) -> None:
    assert decide(_ended(*ends), limit=5, same_failure=3).action == action


def test_a_crash_loop_says_so_and_is_counted_anew_after_giving_up() -> None:
    three = _ended(*[("failed", 7, OOM)] * 3)
    assert decide(three, 100, 3).why == f"the same failure 3 times in a row at step 7: {OOM}"
    given_up = [*three[:2], Attempt(3, outcome="failed", last_step=7, reason=OOM, gave_up="crash loop")]
    again = [*given_up, Attempt(4, outcome="failed", last_step=7, reason=OOM)]
    assert decide(again, 100, 3).action == "restart"
    before = _ended(*[("lost", None, "no module")] * 3)
    assert "before the first step" in decide([Attempt(0), *_without_steps(before)], 100, 3).why


def _without_steps(attempts: list[Attempt]) -> list[Attempt]:
    return [Attempt(one.number, outcome=one.outcome, reason=one.reason) for one in attempts]


def test_bad_hosts_add_up() -> None:
    attempts = [
        Attempt(1, outcome="failed", reason="rank 1 died", last_step=3, bad_hosts=("node3",)),
        Attempt(2, outcome="saved", reason="SIGUSR1", last_step=8),
        Attempt(3, outcome="failed", reason="rank 2 hangs", last_step=9, bad_hosts=("node1",)),
    ]
    assert decide(attempts, 100, 3) == Decision("restart", "failed: rank 2 hangs", ("node1", "node3"))


@pytest.mark.parametrize(
    "hosts, action",
    [(["node3", "node1", "node2"], "restart"), (["node3", "node3", "node3"], "give up"), (["", "", ""], "give up")],
)
def test_another_bad_host_is_no_repetition(hosts: list[str], action: str) -> None:
    """The next attempt goes without it."""
    attempts = [
        Attempt(
            number,
            outcome="failed",
            last_step=7,
            reason=f"rank 1 on node{number} hangs",
            bad_hosts=(host,) * bool(host),
        )
        for number, host in enumerate(hosts, 1)
    ]
    assert decide(attempts, 100, 3).action == action


def test_what_rank_0_refused_is_given_up_at_once() -> None:
    """Bad input that was found only after all ranks had joined."""
    attempt = Attempt(1, started=1.0, ended=2.0, first_step=0, outcome="refused", reason="data.seed = 7")
    assert decide([attempt], 100, 3) == Decision("give up", "refused: data.seed = 7")


@pytest.mark.parametrize(
    "reason, plain",
    [
        ("rank 12 of 64 at step 1,024", "rank # of # at step #"),
        ("CUDA error at 0x7fff12ab on port 29500", "CUDA error at # on port #"),
        ("nccl id deadbeef01234567 lost", "nccl id # lost"),
        ("No space left on device", "No space left on device"),
    ],
)
def test_normalised(reason: str, plain: str) -> None:
    assert normalised(reason) == plain


KILLED = "rank 1 of 2 on node2 ended without a word{} (killed, or out of memory){}"


@pytest.mark.parametrize("where", [" in data at step 3", " in step at step 6", " in start", " in end at step 6"])
def test_the_phase_does_not_tell_failures_apart(where: str) -> None:
    """Of a killed rank it is that of its last sign of life, up to two seconds before."""
    reason = KILLED.format(where, "; this rank saw RuntimeError")
    assert normalised(reason) == normalised(KILLED.format("", ""))
    assert normalised(f"rank 1 failed first,{where}: A: x") == normalised("rank 1 failed first: A: x")


def test_a_stop_request(tmp_path: Path) -> None:
    assert read_stop(tmp_path) is None
    request_stop(tmp_path, "SIGUSR1: the time limit is near", "requeue")
    assert json.loads((tmp_path / "stop").read_text())["then"] == "requeue"
    request_stop(tmp_path, "pretrain stop", "end")
    request_stop(tmp_path, "SIGTERM", "requeue")  # does not undo a person's wish
    asked = read_stop(tmp_path)
    assert asked and (asked.why, asked.then) == ("pretrain stop", "end")
    clear_stop(tmp_path)
    clear_stop(tmp_path)
    assert read_stop(tmp_path) is None
    (tmp_path / "stop").touch()
    touched = read_stop(tmp_path)
    assert touched and touched.then == "end"
