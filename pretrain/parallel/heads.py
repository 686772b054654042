"""Attention and MLP over the tensor axis: whole heads and inner columns on each rank.

Shapes: B batch, T tokens, t tokens between regions, H heads, KV key/value heads, D d_head, O outputs of a rank.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pretrain.model.layers import MLP, Attention, GatedMLP
from pretrain.parallel.linear import ColumnLinear, RowLinear, columns
from pretrain.parallel.mesh import Axis
from pretrain.parallel.region import Region


def cut_attention(attention: Attention, region: Region, sharers: Axis) -> None:
    """Leave to this rank H / tensor heads, in place. The queries' own keys and values come with them.

    With more ranks than KV, the `sharers` (neighbours that need the same key/value head) compute a piece of it each.
    """
    size = region.axis.size
    rows = attention.qkv.weight.shape[0] // size
    if sharers.size == 1:
        attention.qkv = ColumnLinear(attention.qkv, rows, region)
        attention.kv_heads //= size
    else:
        queries = attention.heads // size * attention.d_head
        attention.qkv = SharedKeysLinear(attention.qkv, rows, region, queries, sharers)
        attention.kv_heads = 1
    attention.heads //= size
    attention.out = RowLinear(attention.out, attention.out.in_features // size, region)


class SharedKeysLinear(ColumnLinear):
    """Queries of this rank's heads and an equal piece of their key and value; sharers put key and value together.

    So no weight and no product exists twice, as it would if each rank had the whole key/value head.
    """

    def __init__(self, whole: nn.Linear, rows: int, region: Region, queries: int, sharers: Axis) -> None:
        super().__init__(whole, rows, region)
        self.widths = [queries, (rows - queries) // 2, (rows - queries) // 2]
        self.sharers = sharers

    def finish(self, out: Tensor) -> Tensor:
        """[B, T, O] -> [B, T, (H / tensor + 2) * D]."""
        q, k, v = out.split(self.widths, dim=-1)  # type: ignore[no-untyped-call]
        k, v = join(torch.stack((k, v)), self.sharers)  # [2, B, T, D]
        return torch.cat((q, k, v), dim=-1)


def join(piece: Tensor, axis: Axis) -> Tensor:
    """[..., d] -> [..., axis.size * d]: the pieces of all ranks of `axis` side by side, on each of them."""
    return _Join.apply(piece, axis)  # type: ignore[no-any-return, no-untyped-call]


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, piece: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        last_first = piece.movedim(-1, 0).contiguous()
        out = last_first.new_empty(last_first.shape[0] * axis.size, *last_first.shape[1:])
        dist.all_gather_into_tensor(out, last_first, group=axis.group)
        return out.movedim(0, -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        last_first = gradient.movedim(-1, 0).contiguous()
        out = last_first.new_empty(last_first.shape[0] // ctx.axis.size, *last_first.shape[1:])
        dist.reduce_scatter_tensor(out, last_first, group=ctx.axis.group)
        return out.movedim(0, -1), None


def cut_mlp(mlp: MLP | GatedMLP, region: Region) -> MLP | GatedMLP:
    """The MLP with F / tensor inner columns."""
    size = region.axis.size
    mlp.up = ColumnLinear(mlp.up, mlp.up.out_features // size, region)
    mlp.down = RowLinear(mlp.down, mlp.down.in_features // size, region)
    if not isinstance(mlp, GatedMLP):
        return mlp
    mlp.gate = ColumnLinear(mlp.gate, mlp.gate.out_features // size, region)
    if type(mlp) is GatedMLP:
        mlp.__class__ = GatherOnceMLP  # the same layers, used in another way
    return mlp


class GatherOnceMLP(GatedMLP):
    """SwiGLU whose two column layers share one gathered input."""

    gate: ColumnLinear
    up: ColumnLinear

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down(self.activate(*columns(hidden, self.gate, self.up)))  # type: ignore[no-any-return]
