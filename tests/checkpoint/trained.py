"""Small trained checkpoints of several layouts, and ways to harm them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from pretrain.checkpoint.engine import SAFE
from pretrain.checkpoint.files import name_of, record
from pretrain.checkpoint.tensors import load_tensors, save_tensors
from tests.example import small_run
from tests.processes import train_processes

LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "one": (1, {"zero": 0}),
    "tensor2": (2, {"tensor": 2}),
    "pipe2": (2, {"pipe": 2}),
    "zero3": (2, {"zero": 3}),
}


def train_layout(name: str, corpus: Path, directory: Path, **changes: Any) -> Path:
    """Train the small run without dropout under a layout of the table, saving at 10 and 20; returns its directory."""
    processes, parallel = LAYOUTS[name]
    settings = {"parallel": parallel, "checkpoint": {"every": "10 steps"}}
    model = {"dropout": 0.0, **changes.pop("model", {})}
    train_processes(small_run(corpus, directory, model=model, **settings, **changes), processes)
    return directory


def copy_of(run: Path, directory: Path, step: int = 20) -> Path:
    """A copy of one checkpoint, to be harmed."""
    return Path(shutil.copytree(run / "checkpoints" / name_of(step), directory / "checkpoints" / name_of(step)))


def rewrite(checkpoint: Path, name: str, change: Callable[[Any], object]) -> None:
    """Change what a file of tensors holds, as if it had been written so: its checksum is right."""
    path = checkpoint / name
    value = load_tensors(path, SAFE)
    change(value)
    save_tensors(value, path)
    rows = orjson.loads((checkpoint / "files.json").read_bytes())
    written = record(path, checkpoint)
    rows[name] = {"bytes": written.bytes, "sha256": written.sha256}
    (checkpoint / "files.json").write_bytes(orjson.dumps(rows))
