"""Cross-entropy of the next token without ever holding all logits.

The logits of a few hundred tokens at a time are made, turned into losses and at once into gradients of the hidden
state and of the weight: the backward pass only multiplies by the upstream scalar. For GPT-3 the logits of one
2,048-token sample would be 412 MB in fp32, and as much again for their gradient.

Shapes: N tokens (B * T), n tokens of a chunk, C d_model, V vocabulary, Vp padded vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pretrain.config.chunks import tokens_at_once

NO_TARGET = -100
"""A target that is none, as in PyTorch: no loss, no gradient."""
LIFT = {torch.float16: 2.0**10}
"""What gradients of logits are multiplied with while they are in 16 bits; divided again in fp32. Most tokens of a
vocabulary are less likely than 1e-6, where fp16 is off by 3% and soon by all; the loss scale comes too late for them.
In bf16 there is nothing to lift."""


class Losses(NamedTuple):
    """The loss of a batch. The division by the number of target tokens is the caller's: it spans the global batch."""

    total: Tensor
    """Scalar fp32: sum of the losses and z-losses of all target tokens, in nats; differentiable."""
    per_token: Tensor
    """[B, T] fp32, in nats, 0 where there is no target; detached. The cross-entropy alone."""
    z_loss: Tensor
    """Scalar fp32: the z-loss in `total`; detached."""


class Shard(NamedTuple):
    """Some rows of the weight; the others are elsewhere."""

    first: int = 0
    """Token id of the first row here."""
    combine: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    """From the columns here to all: (log of the summed exponentials [n], logit of the target or 0 [n])."""


def cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    vocab_size: int,
    chunk_tokens: int | None = None,
    shard: Shard = Shard(),
    z_loss: float = 0.0,
) -> Losses:
    """Losses of `targets` [B, T] (NO_TARGET: none) under softmax(hidden [B, T, C] x weight' [C, Vp]).

    Columns from `vocab_size` on are padding and have no probability. `chunk_tokens` is n; by default as many as
    pretrain/config/chunks.py says. With a `shard` of the rows, the gradient of hidden is that shard's share of it.
    `z_loss` is the weight of log(Z)^2, with Z the sum of a token's exponentials (Chowdhery et al. 2022, section 5).
    """
    chunk = chunk_tokens or tokens_at_once(weight.shape[0], "cuda" if hidden.is_cuda else "cpu")
    total, per_token, z_total = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden.flatten(0, -2), weight, targets.flatten(), vocab_size, chunk, torch.is_grad_enabled(), shard, z_loss
    )
    return Losses(total, per_token.view_as(targets), z_total)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        vocab_size: int,
        chunk: int,
        training: bool,
        shard: Shard,
        z_loss: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        # ctx.needs_input_grad ignores no_grad, and inside forward gradients are always off: hence `training`
        wants_hidden, wants_weight = (training and needed for needed in ctx.needs_input_grad[:2])
        per_token = torch.empty(targets.shape, dtype=torch.float32, device=hidden.device)
        z_total, ctx.lift = per_token.new_zeros(()), LIFT.get(weight.dtype, 1.0)
        hidden_grad = torch.empty_like(hidden) if wants_hidden else None
        # summed over chunks in fp32 whatever the weight's type: bf16 would lose small chunks
        weight_grad = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        for start in range(0, len(targets), chunk):
            rows = slice(start, start + chunk)
            logits = _logits(hidden[rows], weight, max(0, vocab_size - shard.first))
            wanted = wants_hidden or wants_weight
            per_token[rows], z_losses, logits_grad = _losses_and_gradient(logits, targets[rows], shard, wanted, z_loss)
            z_total += z_losses.sum()
            logits_grad = logits_grad.mul_(ctx.lift).to(weight.dtype) if ctx.lift != 1 else logits_grad.to(weight.dtype)
            if hidden_grad is not None:
                torch.mm(logits_grad, weight, out=hidden_grad[rows])
            if weight_grad is not None:
                _add_product(weight_grad, logits_grad, hidden[rows])
        ctx.save_for_backward(hidden_grad, weight_grad)
        ctx.types = hidden.dtype, weight.dtype
        ctx.mark_non_differentiable(per_token, z_total)
        return per_token.sum() + z_total, per_token, z_total

    @staticmethod
    def backward(ctx: Any, total: Tensor, _per_token: Tensor, _z_total: Tensor) -> tuple[Tensor | None, ...]:
        by, (hidden_grad, weight_grad) = total / ctx.lift, ctx.saved_tensors
        return (_scaled(hidden_grad, by, ctx.types[0]), _scaled(weight_grad, by, ctx.types[1]), *[None] * 6)


def _scaled(gradient: Tensor | None, by: Tensor, dtype: torch.dtype) -> Tensor | None:
    """In fp32: `by` is 1 / target tokens, and rounded to bf16 it would be off by up to 0.4%."""
    return None if gradient is None else (gradient.float() * by).to(dtype)


def _logits(hidden: Tensor, weight: Tensor, vocab_size: int) -> Tensor:
    """[n, C] -> [n, Vp] fp32, padding at -inf."""
    logits = (hidden @ weight.T).float()
    logits[:, vocab_size:] = float("-inf")
    return logits


def _losses_and_gradient(
    logits: Tensor, targets: Tensor, shard: Shard, gradient: bool, z_loss: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses [n], z-losses [n] and, written over the logits, the gradient of both [n, Vp].

    It is softmax - onehot(target), with a z-loss softmax x (1 + 2 z_loss log Z) - onehot(target).
    """
    has_target = targets != NO_TARGET
    column = targets - shard.first
    is_here = has_target & (column >= 0) & (column < logits.shape[1])
    column = column.where(is_here, 0)[:, None]  # [n, 1]
    log_sum = logits.logsumexp(dim=-1)
    target = logits.gather(1, column).squeeze(1).where(is_here, 0)
    if shard.combine is not None:
        log_sum, target = shard.combine(log_sum, target)
    losses, z_losses = (log_sum - target).where(has_target, 0), (z_loss * log_sum.square()).where(has_target, 0)
    if not gradient:
        return losses, z_losses, logits
    logits.sub_(log_sum[:, None]).exp_()
    if z_loss:
        logits.mul_((1 + 2 * z_loss * log_sum)[:, None])
    logits.scatter_add_(1, column, -is_here[:, None].to(logits))
    return losses, z_losses, logits.mul_(has_target[:, None])


def _add_product(total: Tensor, logits_grad: Tensor, hidden: Tensor) -> None:
    """total [Vp, C] fp32 += logits_grad' x hidden. Sums over tokens leave fp16's range: they are made in fp32."""
    if total.dtype == hidden.dtype:
        total.addmm_(logits_grad.T, hidden)
    elif hidden.dtype != torch.float16:
        total += logits_grad.T @ hidden
    elif hidden.is_cuda:  # untested here: no GPU
        total += torch.mm(logits_grad.T, hidden, out_dtype=torch.float32)
    else:
        total += logits_grad.T.float() @ hidden.float()
