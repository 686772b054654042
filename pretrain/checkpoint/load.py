"""Going on: the newest whole checkpoint of this run, its damaged successors named and passed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pretrain.checkpoint.engine import DurableCheckpointEngine
from pretrain.checkpoint.files import damage, list_checkpoints
from pretrain.checkpoint.state import TrainState, check_same, read_state
from pretrain.checkpoint.tensors import load_tensors
from pretrain.parallel.process import World


def find_whole(directory: Path, world: World, say: Callable[[str], None]) -> Path | None:
    """The newest checkpoint whose files are all as they were written, or None. All ranks call it together.

    Each rank reads its share of the files; what is wrong with a checkpoint is told to `say`.
    """
    for checkpoint in list_checkpoints(directory):
        wrong = damage(checkpoint, world.rank, world.size)
        if not world.any(wrong is not None):
            return checkpoint
        say(f"checkpoint {checkpoint.name} is damaged and passed over: {wrong or 'see the other ranks'}")
    return None


def resume(engine: Any, checkpoint: Path, now: TrainState, world: World) -> TrainState:
    """Load model, optimizer and random numbers from `checkpoint`; returns where it stood.

    `now` is the state the run would start from: same run, model, corpus, plan and layout, or ConfigError.
    """
    saved = read_state(checkpoint)
    check_same(saved, now, checkpoint)
    engine.checkpoint_engine = DurableCheckpointEngine()
    engine.load_checkpoint(str(checkpoint), tag="engine")
    set_random_state(load_tensors(checkpoint / f"rng-{world.rank:05d}.pt"))
    return saved


def set_random_state(state: dict[str, torch.Tensor]) -> None:
    """What random_state returned, put back."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
