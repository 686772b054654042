"""A model put on a mesh: everything that makes it parallel, in the one order in which it works.

1. Stage      choose the layers of this rank's pipeline stages; the others stay without memory.
2. Tensor     swap their layers for ones that hold a part of each matrix and exchange around it.
3. Weights    give them memory and draw this rank's part of the initial weights, nothing more.
4. Gradients  say which parameters are parts, and sum the gradients of those that all ranks hold whole.
5. Recompute  make blocks forget activations; late, since it wraps the forward passes that 2 made.
6. Compile    have blocks compiled, with all that was done to them.

ZeRO 3 takes each layer when it has its weights; ZeRO 1 and 2 come after, when DeepSpeed takes the result (engine.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pretrain.config.run import Run
from pretrain.config.stages import stages_of
from pretrain.model.init import Made, initial, materialize
from pretrain.model.layers import Block
from pretrain.model.transformer import Transformer, layer_names
from pretrain.parallel.block import cut_block
from pretrain.parallel.compile import add_compile
from pretrain.parallel.cuts import HEAD_NORMS, cut_of, heads_of
from pretrain.parallel.mesh import Axis, Mesh, split_axis
from pretrain.parallel.recompute import add_recompute
from pretrain.parallel.region import Region
from pretrain.parallel.vocabulary import CutEmbedding, CutHead


def parallelize(
    model: Transformer, mesh: Mesh, run: Run, partition: Callable[[nn.Module], None] | None = None
) -> nn.Module:
    """This rank's part of a model that was built on the meta device, with its initial weights.

    A Transformer, or with pipe > 1 a pipeline module of this rank's stages. `partition` is called with each layer as
    soon as it has its weights, so that ZeRO 3 never holds more than one whole. All ranks call it together.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    if run.model.tied_embeddings:
        shapes["head.weight"] = shapes["embedding.tokens.weight"]
    names = local_layers(run, mesh)
    model.head.z_loss = run.train.z_loss
    if mesh.tensor.size > 1:
        cut_layers(model, mesh, run.parallel.splits_sequence)
    layers = dict(zip(layer_names(run.model), [model.embedding, *model.blocks, model.head], strict=True))
    made: Made = {}
    for name in names:
        before = set(made.values())
        materialize(layers[name], mesh.world.device, made)
        own = [(f"{name}.{inner}", p) for inner, p in layers[name].named_parameters() if p not in before]
        draw(own, shapes, run, mesh.tensor)
        mark(own, shapes, run, mesh)
        if partition:
            partition(layers[name])
    blocks = [layer for layer in (layers[name] for name in names) if isinstance(layer, Block)]
    add_recompute(blocks, run.parallel)
    if run.train.compile:
        add_compile(blocks)
    if mesh.layout.pipe == 1:
        return model
    from pretrain.parallel.pipeline import make_stages

    return make_stages(list(layers.items()), run, mesh)


def local_layers(run: Run, mesh: Mesh) -> list[str]:
    """Names of the layers that this rank holds, in order: of one pipeline stage, or of two for DualPipeV."""
    names, stages = layer_names(run.model), stages_of(run.model, run.parallel, run.sequence_length)
    mine = [stages[mesh.at.pipe]]
    if len(stages) > mesh.layout.pipe:
        mine.append(stages[-1 - mesh.at.pipe])
    return [names[index] for stage in mine for index in stage]


def cut_layers(model: Transformer, mesh: Mesh, split: bool) -> None:
    """Swap every layer for this tensor rank's part of it, in place, still without memory."""
    region = Region(mesh.tensor, split)
    width = max(1, mesh.tensor.size // model.config.key_heads)
    sharers = split_axis(mesh.layout, mesh.world.rank, width) if width > 1 else Axis()
    with torch.device("meta"):
        for block in cast("Iterable[Block]", model.blocks):
            cut_block(block, region, sharers)
        model.embedding = CutEmbedding(model.embedding, region)
        tied = model.embedding if model.config.tied_embeddings else None
        model.head = CutHead(model.head, region, tied)
    model.heads = heads_of(model.config, mesh.tensor.rank, mesh.tensor.size)


def draw(named: Iterable[tuple[str, nn.Parameter]], shapes: dict[str, tuple[int, ...]], run: Run, tensor: Axis) -> None:
    """Fill parameters with this rank's part of their initial values; only that part is drawn."""
    with torch.no_grad():
        for name, parameter in named:
            cut = cut_of(run.model, name, shapes[name], tensor.rank, tensor.size)
            parts = [(None, None)] if cut is None else [(p, None) if cut.dim == 0 else (None, p) for p in cut.parts]
            drawn = [initial(run.model, run.train.seed, name, shapes[name], rows, columns) for rows, columns in parts]
            parameter.copy_(torch.cat(drawn, dim=cut.dim if cut else 0))


def mark(named: Iterable[tuple[str, nn.Parameter]], shapes: dict[str, tuple[int, ...]], run: Run, mesh: Mesh) -> None:
    """Tell DeepSpeed which parameters are parts (the norm counts the others once), and sum the others' gradients.

    Where tokens are cut, a parameter that every tensor rank holds sees only that rank's tokens; norms of queries and
    keys see only its heads, always.
    """
    tensor = mesh.tensor
    for name, parameter in named:
        is_part = cut_of(run.model, name, shapes[name], tensor.rank, tensor.size) is not None
        parameter.model_parallel = is_part  # type: ignore[attr-defined]
        sees_some = run.parallel.splits_sequence or name.endswith(HEAD_NORMS)
        if tensor.size > 1 and not is_part and sees_some:
            parameter.register_hook(lambda gradient: _summed(gradient, tensor))  # type: ignore[no-untyped-call]


def _summed(gradient: Tensor, axis: Axis) -> Tensor:
    total = gradient.clone()
    dist.all_reduce(total, group=axis.group)
    return total
