"""Saving: every rank writes its files beside, rank 0 commits them, or nobody does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from pretrain.checkpoint.engine import DurableCheckpointEngine
from pretrain.checkpoint.files import FileRecord, clean, commit, name_of, record, write_durably
from pretrain.checkpoint.retention import remove_old
from pretrain.checkpoint.state import TrainState
from pretrain.checkpoint.tensors import save_tensors
from pretrain.config.errors import RunError
from pretrain.config.run import Checkpoint
from pretrain.parallel.process import World


class SaveError(RunError):
    """A checkpoint could not be written; earlier ones are untouched."""


def save_checkpoint(
    engine: Any, state: TrainState, directory: Path, config: Checkpoint, world: World, extra: Callable[[Path], None]
) -> Path:
    """Write the checkpoint of `state` and remove old ones. All ranks call it together.

    `extra` writes further files into the directory, on rank 0. Raises SaveError on every rank alike (a full disk, say),
    with nothing visible left behind.
    """
    temporary = directory / (name_of(state.step) + ".tmp")
    _agree(world, _attempt(lambda: _prepare(temporary)) if world.is_writer else None, state)
    engine.checkpoint_engine = files = DurableCheckpointEngine()
    engine._copy_recovery_script = lambda folder: None  # these scripts unpickle what they are given; see weights.py
    engine.save_checkpoint(str(temporary), tag="engine", save_latest=False)
    records: list[FileRecord] = []
    error = files.error or _attempt(lambda: records.extend(_write_rest(temporary, files.written, state, world, extra)))
    _agree(world, error, state, temporary)
    everyone = _gather(records, world)
    _agree(world, _attempt(lambda: commit(temporary, everyone)) if world.is_writer else None, state, temporary)
    if world.is_writer:
        remove_old(directory, config)
    world.barrier()
    return temporary.with_suffix("")


def _agree(world: World, error: OSError | None, state: TrainState, temporary: Path | None = None) -> None:
    """Go on only when no rank had an error; else nothing is left behind and every rank raises the first one."""
    message = world.first(None if error is None else str(error))
    if message is not None:
        if world.is_writer and temporary:
            shutil.rmtree(temporary, ignore_errors=True)
        raise SaveError(f"{name_of(state.step)} was not saved: {message}")


def _prepare(temporary: Path) -> None:
    temporary.parent.mkdir(parents=True, exist_ok=True)
    clean(temporary.parent)
    temporary.mkdir()


def _write_rest(
    temporary: Path, written: list[Path], state: TrainState, world: World, extra: Callable[[Path], None]
) -> list[FileRecord]:
    """This rank's random state and, on rank 0, what describes the whole; records of all that this rank wrote."""
    mine = [*written, temporary / f"rng-{world.rank:05d}.pt"]
    save_tensors(random_state(), mine[-1])
    if world.is_writer:
        before = set(temporary.rglob("*"))
        write_durably(temporary / "state.json", state.encode())
        extra(temporary)
        mine += [path for path in sorted(set(temporary.rglob("*")) - before) if path.is_file()]
    return [record(path, temporary) for path in mine]


def random_state() -> dict[str, torch.Tensor]:
    """The states of torch's generators on this rank (dropout draws from them)."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _gather(records: list[FileRecord], world: World) -> list[FileRecord]:
    """The records of all ranks, on every rank."""
    if world.size == 1:
        return records
    everyone: list[list[FileRecord]] = [[] for _ in range(world.size)]
    dist.all_gather_object(everyone, records)
    return [entry for rank in everyone for entry in rank]


def _attempt(action: Callable[[], object]) -> OSError | None:
    """Run `action`; its OSError is returned, to be agreed on before anyone stops waiting."""
    try:
        action()
    except OSError as error:
        return error
    return None
