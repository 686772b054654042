"""The processes of one layout: forked from one server that has imported everything, so that each costs little.

The server is a process of its own with its own environment; nothing changes in that of the parent. However it ends,
by itself, by an error, by a timeout or by Ctrl-C, no process of a layout is left.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess, parent_process
from pathlib import Path
from typing import cast

from pretrain.config.errors import RunError
from pretrain.verification.layouts import Trial
from pretrain.verification.result import Result, load_result

SECONDS = 300.0
"""After which a layout is taken to hang."""
LINES = 30
"""Of a dead process's output that are shown."""
LOOPBACK = "lo"
"""Linux's network interface that never leaves the host."""

Before = Callable[[], None]
"""Called in each process before anything else; at the top level of a module, so that a process can find it."""


class DiedError(RunError):
    """A process of a layout ended with an error, or one hangs."""


def run_trial(trial: Trial, steps: int, directory: Path, before: Before | None = None) -> Result:
    """Train `trial` on its processes, which keep their files in the new `directory`. Raises DiedError."""
    directory.mkdir(parents=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pretrain.verification.preload"])
    size, port = trial.axes.processes, free_port()
    children: list[BaseProcess] = [
        context.Process(target=_body, args=(trial, steps, directory, rank, port, before), daemon=True)
        for rank in range(size)
    ]
    try:
        for child in children:
            child.start()
        _wait(children, directory, time.monotonic() + SECONDS)
    finally:
        _kill(children)
    return load_result([directory / f"rank-{rank}.npz" for rank in range(size)])


def free_port() -> int:
    """A port of this host that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(children: Sequence[BaseProcess], directory: Path, deadline: float) -> None:
    """Until all have ended well; the first that has not is an error."""
    running = {child.sentinel: (rank, child) for rank, child in enumerate(children)}
    while running:
        ended = connection.wait(list(running), max(0.0, deadline - time.monotonic()))
        if not ended:
            ranks = [rank for rank, _ in running.values()]
            raise DiedError(f"ranks {ranks} did not end within {SECONDS:g} s\n{_output(directory, ranks[0])}")
        for sentinel in ended:
            rank, child = running.pop(cast(int, sentinel))
            child.join()
            if child.exitcode:
                code = f"exit code {child.exitcode}" if child.exitcode > 0 else f"signal {-child.exitcode}"
                raise DiedError(f"rank {rank} ended with {code}\n{_output(directory, rank)}")


def _output(directory: Path, rank: int) -> str:
    """The last lines that a rank wrote."""
    lines = (directory / f"rank-{rank}.txt").read_text(errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-LINES:])


def _kill(children: Sequence[BaseProcess]) -> None:
    """kill -9 those that still run, and wait for them."""
    started = [child for child in children if child.pid is not None]
    for child in started:
        child.kill()
    for child in started:
        child.join()


def _body(trial: Trial, steps: int, directory: Path, rank: int, port: int, before: Before | None) -> None:
    """What a process does. All that it or a library in it prints goes to a file."""
    with open(directory / f"rank-{rank}.txt", "w", buffering=1) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    size = str(trial.axes.processes)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=size)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    if LOOPBACK in [name for _, name in socket.if_nameindex()]:
        os.environ["GLOO_SOCKET_IFNAME"] = LOOPBACK  # the host's own name may lead to a network that is closed
    try:
        if before:
            before()
        from pretrain.verification.worker import work

        work(trial.run, steps, directory / f"rank-{rank}.npz")
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # at once: the others wait for this rank, and ending in order may wait for them


def _end_with_parent() -> None:
    """A parent that was killed cannot kill its children: they end when it does."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
