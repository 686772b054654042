"""What tensor ranks exchange around their layers: entering a parallel region and leaving it, with both gradients.

Inside a region every rank has all tokens and its own heads, inner columns or vocabulary rows. Outside, with sequence
parallelism (Korthikanti et al. 2022), each has its own tokens and all columns; without it, everything twice.

            forward                                backward
enter       split: all-gather tokens, else nothing     split: reduce-scatter, else all-reduce
leave       split: reduce-scatter, else all-reduce     split: all-gather tokens, else nothing

Shapes: B batch, T tokens, t = T / tensor when split, else T, C columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.parallel.mesh import Axis


class Pending:
    """A collective under way; `result` waits for it."""

    def __init__(self, work: dist.Work | None, out: Tensor, tokens_first: bool = False) -> None:
        self._work, self._out, self._tokens_first = work, out, tokens_first

    def result(self) -> Tensor:
        """The tensor, when it is there."""
        if self._work is not None:
            self._work.wait()
        return self._out.transpose(0, 1) if self._tokens_first else self._out


@dataclass(frozen=True)
class Region:
    """A tensor axis, and whether tokens are cut between its parallel regions."""

    axis: Axis
    split: bool

    def enter(self, hidden: Tensor) -> Tensor:
        """[B, t, C] -> [B, T, C]."""
        return _Enter.apply(hidden, self)  # type: ignore[no-any-return, no-untyped-call]

    def leave(self, partial: Tensor) -> Tensor:
        """[B, T, C], to be summed over the ranks -> [B, t, C]."""
        return _Leave.apply(partial, self)  # type: ignore[no-any-return, no-untyped-call]

    def gather(self, hidden: Tensor) -> Pending:
        """[B, t, C] -> [B, T, C], not differentiable."""
        if not self.split:
            return Pending(None, hidden)
        tokens_first = hidden.transpose(0, 1).contiguous()  # collectives cut the first dim
        out = tokens_first.new_empty(tokens_first.shape[0] * self.axis.size, *tokens_first.shape[1:])
        work = dist.all_gather_into_tensor(out, tokens_first, group=self.axis.group, async_op=True)
        return Pending(work, out, tokens_first=True)

    def sum(self, partial: Tensor) -> Pending:
        """[B, T, C] -> [B, t, C], not differentiable; without split it is summed in place."""
        if not self.split:
            partial = partial.contiguous()
            return Pending(dist.all_reduce(partial, group=self.axis.group, async_op=True), partial)
        tokens_first = partial.transpose(0, 1).contiguous()
        out = tokens_first.new_empty(tokens_first.shape[0] // self.axis.size, *tokens_first.shape[1:])
        work = dist.reduce_scatter_tensor(out, tokens_first, group=self.axis.group, async_op=True)
        return Pending(work, out, tokens_first=True)


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, region: Region) -> Tensor:
        ctx.region = region
        return region.gather(hidden).result()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.region.sum(gradient.clone()).result(), None


class _Leave(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, partial: Tensor, region: Region) -> Tensor:
        ctx.region = region
        out = region.sum(partial).result()
        if out is partial:
            ctx.mark_dirty(partial)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.region.gather(gradient).result(), None
