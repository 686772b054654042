"""A process that dies at any step of saving leaves whole checkpoints behind, and at least one."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pretrain.checkpoint.files import damage, list_checkpoints
from tests.checkpoint.test_saver import Made

CALLS = ("write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir")
"""Of the operating system, that change what is on the disk."""


def test_killed_at_every_call_that_changes_the_disk(tmp_path: Path, told: Callable[..., None]) -> None:
    """Each time half of what is written has arrived; what was saved before, or the new one, is whole."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preload"])
    found = []
    for number in range(1000):
        child = context.Process(target=save_and_die, args=(tmp_path / str(number), number))
        child.start()
        child.join()
        checkpoints = list_checkpoints(tmp_path / str(number))
        assert checkpoints and not any(map(damage, checkpoints)), f"killed at call {number}"
        found.append([path.name[-1] for path in checkpoints])
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
    assert len(found) > 20, "so many calls at least"
    assert [names for names, _ in itertools.groupby(found)] == [["1"], ["2", "1"], ["2"]], "old, both, new"
    told(f"{len(found) - 1} calls")


def save_and_die(directory: Path, number: int) -> None:
    """Save twice, keeping one; the second time, kill this process within its `number`-th call."""
    made = Made(directory, keep_last=1)
    made.save(1, last=True)
    calls = [0]

    def dying(name: str) -> Any:
        whole = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] > number:
                if name == "write":
                    whole(args[0], args[1][: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(*args, **options)

        return call

    for name in CALLS:
        setattr(os, name, dying(name))
    made.save(2)
    made.saver.finish()
    os._exit(0)
