"""Which checkpoints stay on disk."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from pretrain.checkpoint.files import list_checkpoints
from pretrain.checkpoint.state import TrainState, read_state
from pretrain.config.errors import ConfigError
from pretrain.config.run import Checkpoint


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
    states = {path: state for path in list_checkpoints(directory) if (state := _readable(path))}
    kept = keep(list(states.values()), config)
    for path, state in states.items():
        if state.step not in kept:
            with contextlib.suppress(OSError):  # failing to delete is not failing to save
                hidden = path.with_suffix(".tmp")  # invisible at once, whatever interrupts the deletion
                path.rename(hidden)
                shutil.rmtree(hidden, ignore_errors=True)


def _readable(path: Path) -> TrainState | None:
    try:
        return read_state(path)
    except ConfigError:
        return None  # not ours to judge here: it stays
