"""A run that breaks names the rank to look at, and no rank hangs."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from torch._C._distributed_c10d import HashStore

from pretrain.parallel.watch import Watch
from tests.example import small_run
from tests.processes import finish, start, told

HOST = socket.gethostname()


def pair(ended: list[str]) -> tuple[Watch, Watch, int]:
    """Two ranks in one process, and the port at which they are watched."""
    store = HashStore()
    first, second = (Watch(store, "127.0.0.1", rank, 2, end=ended.append) for rank in (0, 1))
    return first, second, int(store.get("watch").split()[0])


def test_strangers_are_not_heard() -> None:
    """Port scanners are common on clusters."""
    ended: list[str] = []
    first, second, port = pair(ended)
    forged = b'[]\n{"end": "x"}\n{"token": "guessed", "rank": 1}\n'
    for words in (b"GET / HTTP/1.0\r\n\r\n", b"SSH-2.0-scan\r\n", b"\xff\xfe\n0 1\n", forged):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(words)
    verdict = f"rank 1 of 2 on {HOST} failed first, in start: ValueError: x"
    assert verdict in second.explain(ValueError("x"))
    assert verdict in first.explain(RuntimeError("connection"))
    first.close()
    second.close()
    assert not ended


def test_where_a_rank_failed_is_what_it_was_doing() -> None:
    """Not where its last sign of life came from, nor the end through which the error passed."""
    ended: list[str] = []
    first, second, _ = pair(ended)
    second.started = True
    for phase in ("data", "step", "end"):
        second.at(phase, 7)
    second.tell(ValueError("x"))
    second._say({"phase": "end", "step": 7, "seconds": 0.0})  # the next sign of life
    assert f"rank 1 of 2 on {HOST} failed first, in step at step 7: ValueError: x" in second.explain(KeyError("y"))
    first.close()
    second.close()
    assert not ended


def test_the_end_of_rank_0_in_order_ends_the_watch() -> None:
    ended: list[str] = []
    first, second, _ = pair(ended)
    first.close()
    second._listener.join(5)
    assert not second._listener.is_alive() and not ended


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


def be_interrupted(directory: Path) -> None:
    instead_of_opening(_interrupt)


def _interrupt() -> None:
    raise KeyboardInterrupt


def meet_a_bug(directory: Path) -> None:
    instead_of_opening(lambda: os.environ.__getitem__("a bug"))


def test_a_rank_that_is_killed_during_start_up(corpus: Path, tmp_path: Path) -> None:
    """The others are forming groups then, where nothing else would notice."""
    run = small_run(corpus, tmp_path, parallel={"tensor": 2})
    started = time.monotonic()
    assert finish(start(run, 4, before=be_killed)) == [1, -signal.SIGKILL, 1, 1]
    assert time.monotonic() - started < 60
    for rank in (0, 2, 3):
        assert f"rank 1 of 4 on {HOST} ended without a word in start" in told(run, rank)


def test_a_rank_that_fails_during_start_up(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path)
    assert finish(start(run, 2, before=meet_a_bug)) == [1, 1]
    for rank in (0, 1):
        assert f"rank 1 of 2 on {HOST} failed first, in start: KeyError: 'a bug'" in told(run, rank)


def test_a_rank_that_leaves_alone(corpus: Path, tmp_path: Path) -> None:
    """It says nothing, but it has not done its part either."""
    run = small_run(corpus, tmp_path)
    assert finish(start(run, 2, before=be_interrupted))[0] == 1
    assert f"rank 1 of 2 on {HOST} ended without a word" in told(run, 0)


def test_hundreds_of_ranks_cost_little() -> None:
    """One thread hears them all: a beat of each, every two seconds."""
    from pretrain.config.resilience import Stall
    from pretrain.parallel.watchman import Watchman

    ranks = 300  # 1,000 need more open files than some systems allow
    man = Watchman(ranks, Stall())
    lines = [socket.create_connection(("127.0.0.1", man.port)) for _ in range(ranks)]
    for rank, line in enumerate(lines):
        hello = {"token": man.token, "rank": rank, "host": f"node{rank // 8}"}
        line.sendall(json.dumps(hello).encode() + b"\n")
    clock = time.pthread_getcpuclockid(man.thread.ident or 0)
    until = time.monotonic() + 10
    while len(man.hosts) < 38 and time.monotonic() < until:
        time.sleep(0.05)
    started = time.clock_gettime(clock)
    for _ in range(3):
        for rank, line in enumerate(lines):
            line.sendall(b'{"phase": "step", "step": 7, "seconds": 1.0}\n')
            if rank % 10 == 0:
                time.sleep(0.06)
    used = time.clock_gettime(clock) - started
    for line in lines:
        line.close()
    assert used < 0.6, f"{used:.2f} s of processor time in 5.4 s"
