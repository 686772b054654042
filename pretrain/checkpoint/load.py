"""Going on: the newest whole checkpoint of this run, its damaged successors named and passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pretrain.checkpoint.engine import CollectingEngine
from pretrain.checkpoint.files import damage, list_checkpoints, set_aside
from pretrain.checkpoint.reshard import reshard
from pretrain.checkpoint.saved import Saved
from pretrain.checkpoint.state import TrainState, check_same, layout_words, read_state
from pretrain.checkpoint.tensors import load_tensors
from pretrain.config.errors import ConfigError
from pretrain.config.model import Model
from pretrain.parallel.mesh import Mesh
from pretrain.parallel.process import World


def find_whole(directory: Path, world: World, say: Callable[[str], None]) -> Path | None:
    """The newest checkpoint whose files are all as they were written, or None when there is none at all.

    All ranks call it together, each reads its share of the files. Damaged ones are told to `say` and set aside, so that
    they are not counted among those to keep. Raises ConfigError when every checkpoint is damaged.

    What there is rank 0 says: another machine's view of a shared directory may be late.
    """
    damaged: list[Path] = []
    names = [checkpoint.name for checkpoint in list_checkpoints(directory)] if world.is_writer else []
    for checkpoint in (directory / name for name in world.gather(names)[0]):
        wrong = world.first(damage(checkpoint, world.rank, world.size))
        if wrong is None:
            _set_aside(damaged, world)
            return checkpoint
        say(f"checkpoint {checkpoint.name} is damaged and passed over: {wrong}")
        damaged.append(checkpoint)
    if damaged:
        all_of_them = ", ".join(checkpoint.name for checkpoint in damaged)
        fix = "restore one, or move the directory away to start from the beginning"
        rule = f"every checkpoint is damaged, the last one because {wrong}"
        raise ConfigError.of("checkpoint", all_of_them, rule, fix)
    return None


def _set_aside(damaged: list[Path], world: World) -> None:
    world.barrier()  # nobody still reads them
    if world.is_writer:
        for checkpoint in damaged:
            set_aside(checkpoint)


def resume(
    engine: Any, checkpoint: Path, now: TrainState, model: Model, mesh: Mesh, say: Callable[[str], None]
) -> TrainState:
    """Load model, optimizer and random numbers from `checkpoint`; returns where it stood, with the plan of `now`.

    `now` is the state the run would start from: same run, model, corpus and plan, or ConfigError. Written for another
    layout, the checkpoint is read part by part into this one, which `say` is told.
    """
    saved = read_state(checkpoint)
    check_same(saved, now, checkpoint)
    if saved.layout == now.layout:
        load_as_written(engine, checkpoint, mesh.world)
    else:
        parts = Saved(checkpoint, model)
        say(
            f"{checkpoint.name} was written as {layout_words(saved.layout)} and is read as {layout_words(now.layout)}: "
            f"{parts.bytes() / 1e9:,.3g} GB of files, of which each process reads the parameters that it holds; "
            f"nothing is written"
        )
        reshard(engine, parts, mesh, saved.updates)
        if model.dropout:
            say("dropout goes on with new random numbers: those of another layout do not fit")
    # what is saved from here on has the layout and the plan of now
    return replace(saved, plan=now.plan, plan_fingerprint=now.plan_fingerprint, layout=now.layout)


def load_as_written(engine: Any, checkpoint: Path, world: World) -> None:
    """Each rank its own files, bit for bit."""
    engine.checkpoint_engine = CollectingEngine()
    asked, clip = [dict(group, params=None) for group in engine.optimizer.param_groups], engine.gradient_clipping()
    with _moments_in_place(getattr(engine.optimizer, "optimizer", engine.optimizer)):
        engine.load_checkpoint(str(checkpoint), tag="engine")
    # DeepSpeed brings back the settings of the checkpoint too; those of the run count, which may have changed
    for group, wanted in zip(engine.optimizer.param_groups, asked, strict=True):
        group.update({name: value for name, value in wanted.items() if name != "params"})
    if hasattr(engine.optimizer, "clip_grad"):
        engine.optimizer.clip_grad = clip
    set_random_state(load_tensors(checkpoint / f"rng-{world.rank:05d}.pt"))


@contextmanager
def _moments_in_place(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, loading a state copies it into the moments that are there.

    torch would take over the tensors of the file, which lie in it: to copy them into memory that is in use already is
    four times as fast as into new memory (docs/checkpoints.md).
    """
    before = {parameter: dict(state) for parameter, state in optimizer.state.items()}

    def copy(loaded: torch.optim.Optimizer) -> None:
        for parameter, state in loaded.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    state[name] = _copied(value, before.get(parameter, {}).get(name))

    hook = optimizer.register_load_state_dict_post_hook(copy)
    try:
        yield
    finally:
        hook.remove()


def _copied(value: Tensor, into: object) -> Tensor:
    if isinstance(into, Tensor) and (into.shape, into.dtype, into.device) == (value.shape, value.dtype, value.device):
        return into.copy_(value)
    return value.clone()


def set_random_state(state: dict[str, torch.Tensor]) -> None:
    """What random_state returned, put back."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
