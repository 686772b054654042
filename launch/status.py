"""Where a run stands, from the files in its directory and from the queue. No torch."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import yaml

from launch import slurm
from launch.checks import newest_checkpoint
from launch.logs import TAIL
from launch.record import describe, holder, read_json, read_launch
from pretrain.config.errors import ConfigError, nearest
from pretrain.config.load import find, load_run
from pretrain.resilience.attempts import Attempt, read_attempts
from pretrain.resilience.locks import is_locked
from pretrain.resilience.stop import read_stop

RECENT = 50
"""Training rows whose median speed the time left is computed from."""
QUEUE_CALLS = 1
"""A status is looked at again sooner than a controller that is down comes back."""
NEEDED = {"step", "tokens", "batch_tokens", "tokens_per_second"}
"""What a training row must have to say where the run stands."""
STALE = 90.0
"""Seconds without a heartbeat after which it is told how old it is."""


@dataclass(frozen=True)
class Status:
    """One run. Numbers are None where nothing is known."""

    name: str
    directory: Path
    state: str
    """Such as `running: step`, `queued: PENDING (Resources)`, `finished`, `failed: ...`."""
    step: int | None = None
    steps: int | None = None
    """Of the whole run; while the batch grows an estimate from above."""
    tokens: int | None = None
    wanted: int | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    mfu: float | None = None
    seconds_left: float | None = None
    checkpoint: str = ""
    """The newest, and its age."""
    jobs: tuple[str, ...] = ()
    """Of the queue, with their states."""
    hosts: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    """Slow ranks."""
    attempts: tuple[Attempt, ...] = ()

    @property
    def restarts(self) -> int:
        """Starts after the first."""
        return max(0, len(self.attempts) - 1)


def run_directory(run: str | None) -> Path:
    """The directory that a path, a name in runs/ or configs/runs/, or a RUN.yaml means. Raises ConfigError."""
    path = Path(run or "")
    if run and path.is_dir():
        return path
    if run and (Path("runs") / run).is_dir():
        return Path("runs") / run
    try:
        file = find(run or "", "runs")
    except ConfigError:
        guess = nearest(run or "", [known.name for known in all_runs()])
        rule = "must be a run directory, a name in runs/ or configs/runs/, or a RUN.yaml"
        fix = f"did you mean {guess!r}?" if guess else "give runs/NAME; `pretrain status` lists them"
        raise ConfigError.of("run", run, rule, fix) from None
    directory = Path(load_run(file).run_directory)
    if not directory.is_dir():
        raise ConfigError.of("run", run, f"has no run directory {directory} yet", "launch it, or give the directory")
    return directory


def all_runs(root: Path = Path("runs")) -> list[Path]:
    """Every run directory under `root`, the one that changed last first."""
    found = {path.parent for name in ("attempts.jsonl", "launch.json", "run.yaml") for path in root.glob(f"*/{name}")}
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def read_status(directory: Path) -> Status:
    """Everything that is known about a run now."""
    rows, plain = _train_rows(directory), _description(directory)
    attempts = tuple(read_attempts(directory))
    beat = read_json(directory / "heartbeat.json")
    wanted = plain.get("train", {}).get("tokens")
    last = rows[-1] if rows else {}
    speed = statistics.median(row["tokens_per_second"] for row in rows[-RECENT:]) if rows else None
    left = max(0, wanted - last["tokens"]) if wanted and rows else None
    jobs, queue = _jobs(directory)
    return Status(
        name=plain.get("name", directory.name),
        directory=directory,
        state=_state(directory, attempts, beat, queue),
        step=last.get("step"),
        steps=last["step"] + ceil(left / last["batch_tokens"]) if left is not None else None,
        tokens=last.get("tokens"),
        wanted=wanted,
        loss=last.get("loss"),
        tokens_per_second=speed,
        mfu=last.get("mfu"),
        seconds_left=left / speed if left is not None and speed else None,
        checkpoint=_checkpoint(directory),
        jobs=jobs,
        hosts=tuple(beat.get("hosts", ())),
        slow=tuple(f"rank {one['rank']} on {one['host']} {one['ratio']:.2f}x" for one in beat.get("slow", ())),
        attempts=attempts,
    )


def _state(directory: Path, attempts: Sequence[Attempt], beat: dict[str, Any], queue: str) -> str:
    last = attempts[-1] if attempts else None
    who = holder(directory)
    if who or is_locked(directory / "lock"):
        words = [f"running: {beat['phase']}" if beat and last and beat["attempt"] == last.number else "starting"]
        if beat.get("verdict"):
            words.append(str(beat["verdict"]))
        elif beat and last and last.outcome is None and (age := time.time() - beat["time"]) > STALE:
            words.append(f"no heartbeat for {age:.0f} s")
        if (asked := read_stop(directory)) is not None:
            words.append(f"asked to {'end' if asked.then == 'end' else 'save and start again'}: {asked.why}")
        return ", ".join(words) + (f" ({describe(who)})" if who else "")
    if queue:
        return f"queued: {queue}"
    if last is None:
        return "not started"
    if last.gave_up:
        return f"given up: {last.gave_up}"
    return f"{last.outcome or 'lost'}{f': {last.reason}' if last.reason else ''}"


def _jobs(directory: Path) -> tuple[tuple[str, ...], str]:
    """The run's jobs as the queue knows them, and the first state of one that waits."""
    launch = read_launch(directory)
    if launch is None or not launch.jobs or not slurm.available():
        return (), ""
    try:
        found = slurm.states(launch.jobs, attempts=QUEUE_CALLS)
    except slurm.SlurmError as error:
        return (f"SLURM does not answer: {error}",), ""
    living = {job: state for job, state in found.items() if not slurm.is_over(state)}
    return tuple(f"{job} {state}" for job, state in living.items()), next(iter(living.values()), "")


def _checkpoint(directory: Path) -> str:
    newest = newest_checkpoint(directory)
    if newest is None or not newest.is_dir():
        return ""
    age = time.time() - (newest / "files.json").stat().st_mtime
    return f"{newest.name}, {duration(age)} old"


def _description(directory: Path) -> dict[str, Any]:
    """run.yaml, or what was launched while it has not started."""
    for name in ("run.yaml", "launch.yaml"):
        if (directory / name).is_file():
            return yaml.safe_load((directory / name).read_text(encoding="utf-8")) or {}
    return {}


def _train_rows(directory: Path) -> list[dict[str, Any]]:
    """The last training rows of metrics.jsonl."""
    try:
        with open(directory / "metrics.jsonl", "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL))
            lines = file.read().split(b"\n")[1 if size > TAIL else 0 : -1]
    except OSError:
        return []
    return [row for line in lines if (row := _train_row(line))]


def _train_row(line: bytes) -> dict[str, Any] | None:
    """None for another kind of row, and for a line that a full disk or a crashed node tore."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and row.get("kind") == "train" and row.keys() >= NEEDED else None


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`, `2 days 4 h`."""
    minutes = int(seconds) // 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
