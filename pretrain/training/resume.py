"""Where a run goes on: without the windows that rollbacks left out, from the newest checkpoint that is not void."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pretrain.checkpoint.files import list_checkpoints, point_latest, set_aside
from pretrain.checkpoint.load import find_whole, resume
from pretrain.checkpoint.state import TrainState, read_state
from pretrain.config.errors import ConfigError
from pretrain.data.plan import Window
from pretrain.parallel.process import World
from pretrain.resilience.skipped import NAME, Skipped, decode
from pretrain.resilience.spikes import History
from pretrain.training.directory import RunDirectory
from pretrain.training.initial import begin_from_weights
from pretrain.training.setup import Session, first_state

VOID = ".rolledback"
"""Checkpoints of the way that a rollback left: kept until the next rollback, and never loaded."""


def go_on(session: Session, directory: RunDirectory) -> tuple[Session, TrainState, list[str]]:
    """The session without skipped windows, the state to start from, and what to tell about it. All ranks call it.

    Raises ConfigError when no checkpoint can be used.
    """
    skipped = read_skipped_everywhere(directory.path, session.world)
    session, messages = leave_out(session, skipped), list[str]()
    set_void_aside(directory.checkpoints, skipped, session.world)
    run_id = session.world.first(directory.run_id() if session.world.is_writer else None)
    state = fresh = first_state(session, run_id or "")
    checkpoint = find_whole(directory.checkpoints, session.world, messages.append)
    if checkpoint is None:
        messages += begin_from_weights(session)
    else:
        state = resume(session.engine, checkpoint, fresh, session.run.model, session.mesh, messages.append)
        messages.append(f"going on from {checkpoint}")
        messages += [row.message for row in skipped if row.to_step == state.step]  # else told before, and kept
    history = replace(History.from_plain(state.spikes), rollbacks=len(skipped))
    return session, replace(state, spikes=history.plain()), messages


def leave_out(session: Session, skipped: Sequence[Skipped]) -> Session:
    """The session whose plan leaves these windows out."""
    plan = session.plan.without(Window(row.first_sample, row.samples) for row in skipped)
    return replace(session, plan=plan, order=session.corpus.order(plan))


def read_skipped_everywhere(directory: Path, world: World) -> list[Skipped]:
    """skipped.json as rank 0 sees it, on every rank: another node's view of a shared disk may be late."""
    content: str | None = None
    if world.is_writer:
        with suppress(FileNotFoundError):
            content = (directory / NAME).read_text(encoding="utf-8")
    content = world.first(content)
    return [] if content is None else decode(content, directory)


def set_void_aside(checkpoints: Path, skipped: Sequence[Skipped], world: World) -> None:
    """Take checkpoints out of the list that a rollback went behind. Done again after a kill, it does the rest."""
    if world.is_writer:
        found = list_checkpoints(checkpoints)
        void = [checkpoint for checkpoint in found if is_void(checkpoint, skipped)]
        for checkpoint in void:
            set_aside(checkpoint, VOID)
        if void:
            point_latest(checkpoints)
    world.barrier()


def is_void(checkpoint: Path, skipped: Sequence[Skipped]) -> bool:
    """Whether it was saved before a rollback that went further back."""
    try:
        state = read_state(checkpoint)
    except ConfigError:
        return False  # damaged or of another version: told by those who load it
    known = History.from_plain(state.spikes).rollbacks
    return any(state.step > row.to_step for row in skipped[known:])


def remove_void(checkpoints: Path) -> None:
    """Delete what an earlier rollback set aside."""
    for path in checkpoints.glob(f"step-*{VOID}"):
        shutil.rmtree(path, ignore_errors=True)
