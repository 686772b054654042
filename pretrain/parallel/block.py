"""A block over the tensor axis. Side by side, attention and MLP share one gathered input and one sum of their results.

One entry and one exit of the parallel region instead of two: half the exchange of a block, which is what it is for
(Wang & Komatsuzaki 2021; Chowdhery et al. 2022, section 2).

Shapes: B batch, T tokens, t tokens between regions, C d_model.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor

from pretrain.model.layers import Block, GatedMLP, ParallelBlock
from pretrain.model.sequence import Sequence
from pretrain.parallel.heads import cut_attention, cut_mlp
from pretrain.parallel.linear import ColumnLinear, RowLinear, columns
from pretrain.parallel.mesh import Axis
from pretrain.parallel.region import Region


def cut_block(block: Block, region: Region, sharers: Axis) -> None:
    """Leave to this rank its heads and inner columns, in place (`cut_attention` says what `sharers` are)."""
    cut_attention(block.attention, region, sharers)
    block.mlp = cut_mlp(block.mlp, region)
    if isinstance(block, ParallelBlock):
        block.__class__ = CutParallelBlock  # the same layers, used in another way


class CutParallelBlock(ParallelBlock):
    """Gathers once, reduces once."""

    def forward(self, hidden: Tensor, sequence: Sequence) -> Tensor:
        """[B, t, C] -> [B, t, C]."""
        attention, mlp = self.attention, self.mlp
        inner = (mlp.gate, mlp.up) if isinstance(mlp, GatedMLP) else (mlp.up,)
        first = cast("list[ColumnLinear]", [attention.qkv, *inner])
        last = cast("list[RowLinear]", [attention.out, mlp.down])
        qkv, *wide = columns(self.attention_norm(hidden), *first)
        mixed = attention.mix(first[0].finish(qkv), sequence)
        return hidden + self.dropout(rows([mixed, mlp.activate(*wide)], last))  # type: ignore[no-any-return]


def rows(inputs: list[Tensor], layers: list[RowLinear]) -> Tensor:
    """The sum of several row layers, one input each: summed here first, then once over the ranks. -> [B, t, O]."""
    partial = [F.linear(one, layer.weight) for one, layer in zip(inputs, layers, strict=True)]
    out = layers[0].region.leave(sum(partial[1:], partial[0]))
    return sum((layer.bias for layer in layers if layer.bias is not None), out)
