"""Room on the disk: looked for before a checkpoint is written, made where old checkpoints may go."""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path

from pretrain.checkpoint.files import list_checkpoints, step_of
from pretrain.checkpoint.retention import keep, readable, remove
from pretrain.checkpoint.state import TrainState
from pretrain.checkpoint.verify import read_records, wrong_size
from pretrain.config.checkpoint import Checkpoint
from pretrain.config.errors import ConfigError


def make_room(directory: Path, config: Checkpoint, coming: TrainState, needed: int, anyway: bool = False) -> None:
    """Room for `needed` bytes of the checkpoint `coming`, or OSError (ENOSPC) that says what is needed and there.

    Only checkpoints that would go once it is written are removed, the oldest first and never the newest whole one;
    `anyway` removes them even where the disk seems to have room: a quota does not show.
    """
    free = shutil.disk_usage(directory).free
    for checkpoint in _expendable(directory, config, coming) if free < needed or anyway else []:
        remove(checkpoint)
        if (free := shutil.disk_usage(directory).free) >= needed and not anyway:
            break
    if free < needed:
        raise OSError(errno.ENOSPC, f"No space left: it needs {needed:,} bytes, {directory} has {free:,} free")


def disk_of(directory: Path) -> str:
    """The disk that a directory is on, by where it is mounted, and its free bytes."""
    mount = directory.resolve()
    while not mount.is_mount() and mount != mount.parent:
        mount = mount.parent
    with contextlib.suppress(OSError):
        return f"the disk mounted at {mount}, {shutil.disk_usage(mount).free:,} bytes free"
    return f"the disk mounted at {mount}"


def _expendable(directory: Path, config: Checkpoint, coming: TrainState) -> list[Path]:
    """Checkpoints that go when `coming` is there, oldest first, without the newest that is whole by its sizes."""
    states = {path: state for path in list_checkpoints(directory) if (state := readable(path))}
    kept = keep([*states.values(), coming], config)
    spared = next(filter(_seems_whole, states), None)
    return sorted((path for path in states if step_of(path) not in kept and path != spared), key=step_of)


def _seems_whole(checkpoint: Path) -> bool:
    try:
        return wrong_size(checkpoint, read_records(checkpoint)) is None
    except ConfigError:
        return False
