"""Real training processes for tests: forked from one server that has imported everything, so that each costs little."""

from __future__ import annotations

import io
import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pretrain.monitoring.jsonl import read_rows

SECONDS = 120
"""After which a run of a few steps is taken to hang."""


def train_processes(run: dict[str, Any], size: int, overrides: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Train `run` in `size` gloo processes of one thread each; returns the rows of its metrics.jsonl.

    Raises AssertionError with the output of every process that failed.
    """
    directory = Path(run["directory"])
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "asked.yaml"
    path.write_text(yaml.safe_dump(run))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preload"])
    port = free_port()
    children = [
        context.Process(target=_train, args=(str(path), list(overrides), rank, size, port), daemon=True)
        for rank in range(size)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(SECONDS)
    failed = [rank for rank, child in enumerate(children) if child.exitcode != 0]
    for child in children:
        if child.is_alive():
            child.kill()
    told = "\n".join((directory / f"rank-{rank}.txt").read_text() for rank in failed)
    assert not failed, f"ranks {failed} of {size} failed:\n{told}"
    return list(read_rows(directory / "metrics.jsonl"))


def train_rows(rows: list[dict[str, Any]], key: str) -> list[float]:
    """One column of the training rows."""
    return [row[key] for row in rows if row["kind"] == "train"]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _train(path: str, overrides: list[str], rank: int, size: int, port: int) -> None:
    """The body of one process."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    import torch

    from pretrain.train import train

    torch.set_num_threads(1)
    told = io.StringIO()
    sys.stdout = sys.stderr = told
    try:
        train(path, overrides)
    except BaseException:
        told.write(traceback.format_exc())
        raise SystemExit(1) from None
    finally:
        (Path(path).parent / f"rank-{rank}.txt").write_text(told.getvalue())
