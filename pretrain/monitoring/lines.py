"""Plain lines for pipes and for logs/train.log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from pretrain.config.units import short, size
from pretrain.monitoring.metrics import Kind, Row

FIRST_STEPS = 3
"""Steps shown whatever the time, so that a log soon shows that training runs."""


class PlainLines:
    """A line for the first steps, then one every `seconds`; every validation and event. The file is closed with it."""

    def __init__(self, total_tokens: int, file: TextIO | None = None, seconds: float = 10.0) -> None:
        self._total = total_tokens
        self._file = file
        self._seconds = seconds
        self._shown = 0
        self._last = 0.0

    def write(self, kind: Kind, row: Row) -> None:
        """Print the row, unless it is a training row that comes too soon."""
        if kind == "train":
            now = time.monotonic()
            if self._shown >= FIRST_STEPS and now - self._last < self._seconds:
                return
            self._shown, self._last = self._shown + 1, now
            self._print(train_line(row, self._total))
        elif kind == "event":
            self._print(f"step {row['step']:>7,}  {row['message']}")
        elif kind != "inside":  # hundreds of numbers: for the other sinks
            self._print(other_line(kind, row))

    def flush(self) -> None:
        """Lines are flushed as they are printed."""

    def rewind(self, step: int) -> None:
        """What was printed stays; the event that follows explains it."""

    def close(self) -> None:
        """Close the file that was given."""
        if self._file:
            self._file.close()

    def _print(self, line: str) -> None:
        print(line, file=self._file or sys.stdout, flush=True)


def train_line(row: Row, total_tokens: int) -> str:
    """One training row in one line."""
    tokens, rate = int(row["tokens"]), float(row["tokens_per_second"])
    left = max(0, total_tokens - tokens) / rate if rate else 0.0
    return (
        f"step {row['step']:>7,}  {short(tokens)} tokens  loss {row['loss']:.4f}  grad norm {norm_words(row)}  "
        f"lr {row['learning_rate']:.2e}  {short(rate)} tokens/s  MFU {100 * float(row['mfu']):.1f}%  "
        f"data wait {1000 * float(row['data_seconds']):.0f} ms  {clock(left)} left"
    )


def norm_words(row: Row) -> str:
    """The gradient norm of a training row; fp16 may have had none."""
    return f"{row['grad_norm']:.3f}" if "grad_norm" in row else "overflow"


def other_line(kind: Kind, row: Row) -> str:
    """A validation, baseline or checkpoint row in one line."""
    if kind == "checkpoint":
        return f"step {row['step']:>7,}  {checkpoint_words(row)}"
    if kind == "planned":
        return f"step {row['step']:>7,}  {planned_words(row)}"
    parts = [f"{name} {value:.4f}" for name, value in row.items() if name not in ("step", "tokens")]
    wanted = [part for part in parts if not part.startswith(("perplexity/", "bits_per_byte/", "validation_seconds"))]
    return f"step {row['step']:>7,}  {kind}: " + "  ".join(wanted)


def checkpoint_words(row: Row) -> str:
    """How large a checkpoint was and how long it took."""
    blocked, waited, wrote = (float(row[f"{name}_seconds"]) for name in ("blocked", "waited", "write"))
    waiting = f", {waited:.2f} s of them for the disk" if waited else ""
    return f"checkpoint: {size(int(row['bytes']))} in {wrote:.2f} s, training stood still {blocked:.2f} s{waiting}"


def planned_words(row: Row) -> str:
    """What was planned and what was measured."""
    parts = []
    for prefix in ("", "measured_"):
        seconds, rate = float(row[f"{prefix}step_seconds"]), float(row[f"{prefix}tokens_per_second"])
        memory = f", {size(int(row[f'{prefix}memory_bytes']))}" if f"{prefix}memory_bytes" in row else ""
        parts.append(f"{seconds:.3g} s a step, {short(rate)} tokens/s{memory}")
    ratio = float(row["measured_step_seconds"]) / float(row["step_seconds"])
    return f"planned {parts[0]}; measured {parts[1]}: {ratio:.2f} times the seconds planned"


def clock(seconds: float) -> str:
    """0:05, 1:02:03, 3d 04:05."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d {hours % 24:02d}:{minute:02d}"
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
