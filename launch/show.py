"""Statuses as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from launch.report import attempt_line
from launch.status import Status, duration
from pretrain.config.units import short

ATTEMPTS = 8
"""The last attempts that are listed."""


def overview(statuses: Sequence[Status]) -> Table:
    """One row for each run."""
    table = Table(box=SIMPLE_HEAD)
    for name in ("run", "state", "step", "tokens", "loss", "tokens/s", "MFU", "left", "restarts"):
        table.add_column(name, overflow="fold", justify="left" if name in ("run", "state") else "right")
    for one in statuses:
        table.add_row(one.name, brief(one.state), steps(one), tokens(one), *numbers(one), str(one.restarts))
    return table


def details(status: Status) -> Table:
    """One run, a line for each thing."""
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    loss, speed, mfu, left = numbers(status)
    rows = {
        "run": f"{status.name} in {status.directory}",
        "state": status.state,
        "queue": "\n".join(status.jobs),
        "step": steps(status),
        "tokens": tokens(status),
        "loss": loss,
        "speed": f"{speed} tokens/s, MFU {mfu}" if status.tokens_per_second else "",
        "left": left,
        "checkpoint": status.checkpoint,
        "nodes": ", ".join(status.hosts),
        "slow ranks": "\n".join(status.slow),
        "restarts": str(status.restarts),
        "attempts": "\n".join(attempt_line(attempt) for attempt in status.attempts[-ATTEMPTS:]),
    }
    for name, text in rows.items():
        if text:
            table.add_row(name, text)
    return table


def brief(state: str) -> str:
    """A state without its reasons: `running: step`, `failed`."""
    word, _, rest = state.partition(":")
    return f"{word}:{rest.split(',')[0].split(' (')[0]}" if word in ("running", "queued") else word


def steps(status: Status) -> str:
    """`1,200 / 4,768`."""
    return f"{status.step:,} / {status.steps:,}" if status.step is not None and status.steps else ""


def tokens(status: Status) -> str:
    """`1.2B / 300B`."""
    return f"{short(status.tokens)} / {short(status.wanted)}" if status.tokens is not None and status.wanted else ""


def numbers(status: Status) -> list[str]:
    """Loss, tokens per second, MFU and time left, as far as they are known."""
    return [
        f"{status.loss:.4f}" if status.loss is not None else "",
        short(status.tokens_per_second) if status.tokens_per_second else "",
        f"{status.mfu:.1%}" if status.mfu is not None else "",
        duration(status.seconds_left) if status.seconds_left else "",
    ]
