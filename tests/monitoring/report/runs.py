"""Run directories as training leaves them, with numbers that are easy to reckon with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import yaml

BYTES_PER_TOKEN = {"web": 4.0, "books": 2.0}
CONFIG = {
    "name": "one",
    "train": {"tokens": 4000},
    "model": {"layers": 2, "vocab_size": 512},
    "data": {"mixture": {"web": 3, "books": 1}, "stages": [{"from_tokens": 1000, "mixture": {"web": 1, "books": 1}}]},
    "optimizer": {"learning_rate": 0.001, "clip": 1.0},
}


def make_run(directory: Path, steps: int = 20, config: dict[str, Any] | None = None, **files: str) -> Path:
    """Steps of 100 tokens and 2 seconds, three quarters of them of `web`; validated at every 5th. `files`: contents of
    further files, by name with _ for the dot."""
    directory.mkdir(parents=True)
    write(directory / "metrics.jsonl", rows(steps))
    (directory / "run.yaml").write_text(yaml.safe_dump(config or CONFIG))
    (directory / "environment.txt").write_text(
        "== hardware\nhost a\n\n== git commit\n0123456789abcdef\n\n== packages\ntorch==2\n\n"
        "== git diff\n+key = hidden\n"
    )
    for name, content in files.items():
        (directory / name.replace("_", ".")).write_text(content)
    return directory


def write(path: Path, found: list[dict[str, Any]]) -> None:
    """As lines of JSON."""
    path.write_text("".join(json.dumps(row) + "\n" for row in found))


def rows(steps: int) -> list[dict[str, Any]]:
    """Of metrics.jsonl: the loss falls from 5 towards 4 and is 0.5 lower on books than on web."""
    found: list[dict[str, Any]] = [{"kind": "baseline", "step": 0, "tokens": 0, "unigram": 6.5, "bigram": 4.25}]
    for step in range(1, steps + 1):
        found.append(train_row(step, 4 + 1 / step))
        if step % 5 == 0:
            found.append(validation_row(step, 4.1 + 1 / step))
    return found


def train_row(step: int, loss: float, **more: Any) -> dict[str, Any]:
    row = {"kind": "train", "step": step, "tokens": 100 * step, "tokens/web": 75 * step, "tokens/books": 25 * step}
    row |= {"loss": loss, "loss/web": loss + 0.125, "loss/books": loss - 0.375, "grad_norm": 0.5, "learning_rate": 1e-3}
    row |= {"batch_tokens": 100, "batch_tokens/web": 75, "batch_tokens/books": 25}
    row |= {"step_seconds": 2.0, "data_seconds": 0.5, "data_bytes": 400, "tokens_per_second": 50.0, "mfu": 0.4}
    return {**row, "memory_bytes": 2**30, **more}


def validation_row(step: int, loss: float) -> dict[str, Any]:
    """As many tokens of web as of books."""
    row: dict[str, Any] = {"kind": "validation", "step": step, "tokens": 100 * step, "validation_seconds": 1.0}
    losses = {"web": loss + 0.25, "books": loss - 0.25}
    for name, nats in losses.items():
        row |= {f"loss/{name}": nats, f"bits_per_byte/{name}": nats / math.log(2) / BYTES_PER_TOKEN[name]}
    return row | {"loss": loss, "bits_per_byte": loss / math.log(2) / 3.0}


def attempt_rows(*times: tuple[float, float, int, int, str]) -> str:
    """attempts.jsonl: started, ended, first and last step, outcome of each."""
    lines = []
    for number, (started, ended, first, last, outcome) in enumerate(times, 1):
        where = {"launcher": "local", "job": "", "hosts": ["a"], "processes": 1}
        lines.append({"event": "start", "attempt": number, "time": started, "step": first, **where})
        lines.append({"event": "end", "attempt": number, "time": ended, "outcome": outcome, "step": last, "reason": ""})
    return "".join(json.dumps(line) + "\n" for line in lines)
