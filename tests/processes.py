"""Real training processes for tests: forked from one server that has imported everything, so that each costs little."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import yaml

from pretrain.monitoring.jsonl import read_rows
from pretrain.verification.processes import free_port as free_port

SECONDS = 240
"""After which a run of a few steps is taken to hang."""


def start(
    run: dict[str, Any],
    size: int,
    overrides: Sequence[str] = (),
    before: Callable[[Path], None] | None = None,
    work: Callable[[str, list[str]], None] | None = None,
) -> list[BaseProcess]:
    """Start training `run` in `size` gloo processes of one thread, which call `before` with its directory first.

    `work` is called with the run's path and `overrides` in the place of training.
    """
    directory = Path(run["directory"])
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "asked.yaml"
    path.write_text(yaml.safe_dump(run))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preload"])
    port = free_port()
    children: list[BaseProcess] = [
        context.Process(target=_body, args=(str(path), list(overrides), rank, size, port, before, work), daemon=True)
        for rank in range(size)
    ]
    for child in children:
        child.start()
    return children


def finish(children: list[BaseProcess]) -> list[int | None]:
    """The exit codes of all, after killing those that hang."""
    for child in children:
        child.join(SECONDS)
    codes = [child.exitcode for child in children]
    kill(children)
    return codes


def kill(children: list[BaseProcess]) -> None:
    """kill -9 all that still run, and wait for them."""
    for child in children:
        child.kill()
    for child in children:
        child.join()


def told(run: dict[str, Any], rank: int = 0) -> str:
    """What a rank printed."""
    return (Path(run["directory"]) / f"rank-{rank}.txt").read_text()


def train_processes(
    run: dict[str, Any], size: int, overrides: Sequence[str] = (), before: Callable[[Path], None] | None = None
) -> list[dict[str, Any]]:
    """Train `run` to its end in `size` processes; returns the rows of its metrics.jsonl.

    Raises AssertionError with the output of every process that failed.
    """
    codes = finish(start(run, size, overrides, before))
    failed = [rank for rank, code in enumerate(codes) if code != 0]
    assert not failed, f"ranks {failed} of {size} failed:\n" + "\n".join(told(run, rank) for rank in failed)
    return list(read_rows(Path(run["directory"]) / "metrics.jsonl"))


def train_rows(rows: list[dict[str, Any]], key: str) -> list[float]:
    """One column of the training rows."""
    return [row[key] for row in rows if row["kind"] == "train"]


def _body(
    path: str,
    overrides: list[str],
    rank: int,
    size: int,
    port: int,
    before: Callable[[Path], None] | None,
    work: Callable[[str, list[str]], None] | None,
) -> None:
    """The body of one process."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    import torch

    from pretrain.train import run_or_exit

    torch.set_num_threads(1)
    with open(Path(path).parent / f"rank-{rank}.txt", "w", buffering=1) as output:
        sys.stdout = sys.stderr = output
        try:
            if before:
                before(Path(path).parent)
            (work or run_or_exit)(path, overrides)
        except Exception:
            traceback.print_exc()
            raise SystemExit(1) from None
