"""Which part of each parameter a tensor rank holds: plain arithmetic on canonical names.

One table serves everything that has to agree on it: drawing initial weights, saving and loading under another layout,
comparing gradients with those of one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pretrain.config.model import Model


class Cut(NamedTuple):
    """The parts of one dim that a rank holds, back to back in this order."""

    dim: int
    """0: rows (outputs of a linear layer), 1: columns (its inputs)."""
    parts: tuple[slice, ...]
    """Ranges of the whole parameter's dim."""

    @property
    def size(self) -> int:
        """Length of the dim on this rank."""
        return sum(part.stop - part.start for part in self.parts)

    def of(self, whole: Tensor) -> Tensor:
        """This rank's part of a whole parameter."""
        return torch.cat([whole[self.at(part)] for part in self.parts], dim=self.dim)

    def put(self, mine: Tensor, whole: Tensor) -> None:
        """Write this rank's part into a whole parameter, in place."""
        place = 0
        for part in self.parts:
            size = part.stop - part.start
            whole[self.at(part)] = mine.narrow(self.dim, place, size)
            place += size

    def at(self, part: slice) -> tuple[slice, ...]:
        """`part` of the dim, everything of those before it."""
        return (*[slice(None)] * self.dim, part)


ROWS = ("embedding.tokens.weight", "embedding.positions.weight", "head.weight")
ROWS_IN_BLOCK = ("mlp.up.weight", "mlp.up.bias", "mlp.gate.weight", "mlp.gate.bias")
COLUMNS_IN_BLOCK = ("attention.out.weight", "mlp.down.weight")
QKV = ("attention.qkv.weight", "attention.qkv.bias")
HEAD_NORMS = ("attention.q_norm.weight", "attention.k_norm.weight")
"""Whole on every rank, which sees its own heads only: each has a part of their gradient, with cut tokens or without."""


def cut_of(config: Model, name: str, shape: Sequence[int], rank: int, size: int) -> Cut | None:
    """What tensor rank `rank` of `size` holds of the parameter `name` of whole `shape`; None: all of it.

    Queries, keys and values are cut each for itself, so a rank has whole heads with their own keys and values. Where
    there are more ranks than key/value heads it has an equal piece of one, and neighbours put the head together.
    """
    if size == 1:
        return None
    if name in ROWS or name.endswith((*ROWS_IN_BLOCK, *QKV)):
        return Cut(0, tuple(_piece(part, rank, size) for part in stacked(config, name, shape)))
    if name.endswith(COLUMNS_IN_BLOCK):
        return Cut(1, (_piece(slice(0, shape[1]), rank, size),))
    return None


def heads_of(config: Model, rank: int, size: int) -> slice:
    """The attention heads that tensor rank `rank` of `size` computes."""
    return _piece(slice(0, config.heads), rank, size)


def stacked(config: Model, name: str, shape: Sequence[int]) -> tuple[slice, ...]:
    """Rows of the matrices that lie one below the other in a parameter: queries, keys and values; else of the one."""
    if not name.endswith(QKV):
        return (slice(0, shape[0]),)
    queries, keys = config.heads * config.head_width, config.key_heads * config.head_width
    return slice(0, queries), slice(queries, queries + keys), slice(queries + keys, queries + 2 * keys)


def _piece(of: slice, rank: int, size: int) -> slice:
    """The rank-th of `size` equal pieces of a range."""
    length = of.stop - of.start
    return slice(of.start + length * rank // size, of.start + length * (rank + 1) // size)
