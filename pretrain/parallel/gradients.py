"""Whole gradients by canonical parameter name, put together from all ranks: to compare a layout with one process."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.config.model import Model
from pretrain.model.transformer import Transformer
from pretrain.parallel.cuts import Cut, cut_of
from pretrain.parallel.engine import loss_scale
from pretrain.parallel.mesh import Mesh

Part = tuple[str, Cut | None, Tensor]


def whole_gradients(engine: Any, model: Model, mesh: Mesh) -> dict[str, Tensor]:
    """fp32 gradient of each parameter before clipping, on every rank; small models only.

    All ranks call it together, after Runner.reduce and before Runner.update. A tied head's is in the embedding's.
    """
    with torch.device("meta"):
        shapes = {name: p.shape for name, p in Transformer(model).named_parameters()}
    parts = [part for rank in _everywhere(_own_parts(engine, model, mesh, shapes), mesh) for part in rank]
    whole: dict[str, Tensor] = {}
    for name, cut, gradient in parts:
        if cut is None:
            whole[name] = gradient
        else:
            cut.put(gradient, whole.setdefault(name, torch.zeros(shapes[name])))
    return {name: whole[name] for name in shapes}


def _own_parts(engine: Any, model: Model, mesh: Mesh, shapes: dict[str, torch.Size]) -> list[Part]:
    """This rank's parts, summed over the data axis; of data rank 0 only, the others have the same."""
    from deepspeed.utils import safe_get_full_grad

    parts: list[Part] = []
    for name, parameter in engine.module.named_parameters():
        if getattr(parameter, "ds_pipe_replicated", False):
            continue  # the last stage's copy of a tied embedding
        gradient = safe_get_full_grad(parameter)  # all data ranks exchange here
        cut = cut_of(model, name, shapes[name], mesh.tensor.rank, mesh.tensor.size)
        parts.append((name, cut, gradient.detach().float().cpu() / loss_scale(engine)))
    return parts if mesh.at.data == 0 else []


def _everywhere(parts: list[Part], mesh: Mesh) -> list[list[Part]]:
    if mesh.world.size == 1:
        return [parts]
    everyone: list[list[Part]] = [[] for _ in range(mesh.world.size)]
    dist.all_gather_object(everyone, parts)
    return everyone
