"""launch.json, who launched the run last, and supervisor.lock, who supervises it now.

Needs nothing but Python itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pretrain.resilience.locks import is_locked, locked

PATIENCE = 2.0
"""Seconds to wait for a lock: who looks whether it is held has it for a moment."""


@dataclass(frozen=True)
class Launch:
    """What `pretrain launch` did last in a run directory."""

    launcher: str
    """local, torchrun, deepspeed or slurm."""
    command: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    """SLURM's ids of its jobs, each to start after the one before; of an array its one id."""
    host: str = ""
    pid: int = 0
    time: float = 0.0
    """Unix seconds."""


@dataclass(frozen=True)
class Holder:
    """The supervisor that holds a run directory."""

    host: str
    pid: int
    job: str
    time: float


class HeldError(Exception):
    """Another supervisor holds the run directory."""


def write_launch(directory: Path, launch: Launch) -> None:
    """Replace launch.json."""
    _replace(directory / "launch.json", asdict(launch))


def read_launch(directory: Path) -> Launch | None:
    """The last launch; None where there was none."""
    plain = read_json(directory / "launch.json")
    return Launch(**{key: plain[key] for key in Launch.__dataclass_fields__ if key in plain}) if plain else None


def this_launch(launcher: str, command: list[str], jobs: list[str]) -> Launch:
    """A launch from this process, now."""
    return Launch(launcher, command, jobs, socket.gethostname(), os.getpid(), time.time())


@contextlib.contextmanager
def held(directory: Path, job: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the directory as its supervisor, after waiting `patience` seconds for an earlier one to end.

    Raises HeldError with who holds it, ConfigError when the file system has no locks.
    """
    until = time.monotonic() + patience
    with open(directory / "supervisor.lock", "a+") as file:
        while not locked(file):
            if time.monotonic() > until:
                raise HeldError(describe(holder(directory)))
            time.sleep(0.5)
        file.truncate(0)
        file.write(json.dumps(asdict(Holder(socket.gethostname(), os.getpid(), job, time.time()))) + "\n")
        file.flush()
        yield


def holder(directory: Path) -> Holder | None:
    """Who supervises the run now; None when nobody does."""
    path = directory / "supervisor.lock"
    if not is_locked(path):
        return None
    plain = read_json(path)
    return Holder(plain["host"], plain["pid"], plain["job"], plain["time"]) if plain else Holder("?", 0, "", 0.0)


def describe(who: Holder | None) -> str:
    """`job 17 on node1 (pid 4711)`."""
    if who is None:
        return "nobody"
    return f"{f'job {who.job} on ' if who.job else ''}{who.host} (pid {who.pid})"


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty when it is missing or torn."""
    try:
        plain = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _replace(path: Path, plain: dict[str, Any]) -> None:
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(plain, indent=2) + "\n")
    os.replace(temporary, path)
