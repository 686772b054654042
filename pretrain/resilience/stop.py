"""`stop` in a run directory: a request to save and end after the current step, from whoever can write there."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pretrain.shards.files import write_atomically

Then = Literal["end", "requeue"]


@dataclass(frozen=True)
class StopRequest:
    """Why the run should save and end, and what its launcher does then: nothing more, or start it again."""

    why: str
    then: Then
    time: float
    """Unix seconds at which it was asked."""


def request_stop(directory: Path, why: str, then: Then) -> None:
    """Ask the run in `directory` to save and end. A wish to end outlives later requests to start again."""
    standing = read_stop(directory)
    if then == "requeue" and standing and standing.then == "end":
        return
    asked = {"why": why, "then": then, "time": time.time()}
    write_atomically(directory / "stop", json.dumps(asked).encode() + b"\n")


def read_stop(directory: Path) -> StopRequest | None:
    """The standing request. A file that holds none, such as one made with `touch`, asks to end."""
    try:
        text = (directory / "stop").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError:  # a file system that stutters; the next poll sees it
        return None
    try:
        plain = json.loads(text)
        then: Then = "requeue" if plain["then"] == "requeue" else "end"
        return StopRequest(str(plain["why"]), then, float(plain.get("time", 0)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return StopRequest("the file `stop` was found", "end", _written(directory / "stop"))


def clear_stop(directory: Path) -> None:
    """Take the request away: it was met, or belongs to an attempt that is over."""
    (directory / "stop").unlink(missing_ok=True)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
