"""Linear layers cut over the tensor axis (Shoeybi et al. 2019, section 3).

Column: each rank has some of the outputs; its input enters a parallel region. Row: each rank has some of the inputs;
its output leaves one. A column layer keeps only its own tokens for the backward pass and gathers the others again
(Korthikanti et al. 2022, section 4.2.2); that, and the sum of its input's gradient, run while the matrices multiply.

Shapes: B batch, T tokens, t = T / tensor when tokens are cut, else T, I inputs, O outputs of this rank.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.parallel.region import Region


class ColumnLinear(nn.Linear):
    """[B, t, I] -> [B, T, O]: this rank's rows of a linear layer's weight."""

    def __init__(self, whole: nn.Linear, rows: int, region: Region) -> None:
        """Like `whole`, with `rows` outputs, on its device."""
        super().__init__(whole.in_features, rows, whole.bias is not None, device=whole.weight.device)
        self.region = region

    def forward(self, hidden: Tensor) -> Tensor:
        (out,) = columns(hidden, self)
        return self.finish(out)

    def finish(self, out: Tensor) -> Tensor:
        """What is done to the product, the bias in it: nothing."""
        return out


def columns(hidden: Tensor, *layers: ColumnLinear) -> tuple[Tensor, ...]:
    """The outputs of several column layers of one input, which is gathered once for all."""
    outputs = _Columns.apply(hidden, layers[0].region, *(layer.weight for layer in layers))  # type: ignore[no-untyped-call]
    return tuple(
        out if layer.bias is None else out + layer.bias for out, layer in zip(outputs, layers, strict=True)
    )  # fmt: skip


class _Columns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, region: Region, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.region = region
        ctx.save_for_backward(hidden, *weights)
        gathered = region.gather(hidden).result()
        return tuple(F.linear(gathered, weight) for weight in weights)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, *weights = ctx.saved_tensors
        pending = ctx.region.gather(hidden)
        hidden_grad = gradients[0] @ weights[0]
        for gradient, weight in zip(gradients[1:], weights[1:], strict=True):
            hidden_grad += gradient @ weight
        gathered = pending.result().flatten(0, -2)  # [B * T, I]
        pending = ctx.region.sum(hidden_grad)
        weight_grads = [gradient.flatten(0, -2).T @ gathered for gradient in gradients]  # [O, I] each
        return pending.result(), None, *weight_grads


class RowLinear(nn.Linear):
    """[B, T, I] -> [B, t, O]: this rank's columns of a linear layer's weight. The bias is added once, to the sum."""

    def __init__(self, whole: nn.Linear, inputs: int, region: Region) -> None:
        """Like `whole`, with `inputs` inputs, on its device."""
        super().__init__(inputs, whole.out_features, whole.bias is not None, device=whole.weight.device)
        self.region = region

    def forward(self, inner: Tensor) -> Tensor:
        out = self.region.leave(F.linear(inner, self.weight))
        return out if self.bias is None else out + self.bias
