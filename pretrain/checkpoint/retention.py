"""Which checkpoints stay on disk."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from pretrain.checkpoint.files import list_checkpoints
from pretrain.checkpoint.state import TrainState, read_state
from pretrain.config.checkpoint import Checkpoint
from pretrain.config.errors import ConfigError


def keep(states: Sequence[TrainState], config: Checkpoint) -> set[int]:
    """Steps of the checkpoints to keep, given the states of all: the last ones, and the first of each keep_every."""
    ordered = sorted(states, key=lambda state: state.step)
    kept = {state.step for state in ordered[-config.keep_last :]}
    if config.keep_every:
        seen = -1
        for state in ordered:
            done = state.step if config.keep_every.unit == "steps" else state.tokens
            if (number := int(done // config.keep_every.amount)) > max(seen, 0):
                kept.add(state.step)
            seen = max(seen, number)
    return kept


def remove_old(directory: Path, config: Checkpoint) -> None:
    """Delete the checkpoints that `config` does not keep."""
    states = {path: state for path in list_checkpoints(directory) if (state := readable(path))}
    kept = keep(list(states.values()), config)
    for path, state in states.items():
        if state.step not in kept:
            remove(path)


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint, invisible at once, whatever interrupts the deletion. Failing to delete is no error."""
    with contextlib.suppress(OSError):
        hidden = checkpoint.with_suffix(".tmp")
        checkpoint.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def readable(checkpoint: Path) -> TrainState | None:
    """The state of a checkpoint; None where it cannot be read: not for retention to judge, it stays."""
    try:
        return read_state(checkpoint)
    except ConfigError:
        return None
