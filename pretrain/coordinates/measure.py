"""How large the activations of a model are, and how far training moves them.

Yang et al. 2022, appendix D.1: after a few steps the coordinates of every activation should have moved as far in a
wide model as in a narrow one. One process, fp32, the run's own batches and its peak learning rate.

Shapes: B batch, T tokens, H heads, KV key/value heads, D d_head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pretrain.config.run import Run
from pretrain.data.batch import Batch
from pretrain.model.init import initialize
from pretrain.model.transformer import Transformer
from pretrain.training.optimizer import make_optimizer, set_learning_rate
from pretrain.training.step import to_device

PLACES = ("embedding", "attention scores", "attention", "mlp", "residual stream", "logits")
"""Where it is looked; of all blocks together."""
PROBED = 4
"""Samples of the first batch whose activations are looked at, before the first step and after each."""

Activations = dict[str, list[Tensor]]


class Sizes(NamedTuple):
    """Root mean squares at one width, by place."""

    initial: dict[str, float]
    """Of the activations before the first step."""
    moved: dict[str, list[float]]
    """Of their difference from those, after each step."""
    losses: list[float]
    """Of each step's batch, before it; nats per token."""


def measure(run: Run, batches: Sequence[Batch], device: torch.device) -> Sizes:
    """Train the model of `run` on one batch after the other, and look after each."""
    model, optimizer = start(run, device)
    first = activations(model, batches[0])
    sizes = Sizes({place: _rms(first[place]) for place in PLACES}, {place: [] for place in PLACES}, [])
    for batch in batches:
        sizes.losses.append(step(model, optimizer, batch))
        now = activations(model, batches[0])
        for place in PLACES:
            sizes.moved[place].append(_rms([a - b for a, b in zip(now[place], first[place], strict=True)]))
    return sizes


def start(run: Run, device: torch.device) -> tuple[Transformer, torch.optim.Optimizer]:
    """The model of `run` with its initial weights, and its optimizer at the peak learning rate."""
    torch.manual_seed(run.train.seed)  # dropout draws from it; weights do not
    with torch.device("meta"):
        model = Transformer(run.model)
    initialize(model, run.model, run.train.seed, device=device)
    optimizer = make_optimizer(model, run)
    set_learning_rate(optimizer, run.optimizer.learning_rate)
    return model, optimizer


def step(model: Transformer, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """The mean loss before it. Gradients are not clipped: Adam's steps do not depend on their size."""
    inputs, targets, document = to_device(batch, model.embedding.tokens.weight.device)
    total = model.train()(inputs, targets, document).total / (targets >= 0).sum()
    total.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(total.detach())


@torch.no_grad()
def activations(model: Transformer, batch: Batch) -> Activations:
    """What a forward pass of the first samples of `batch` leaves at each of PLACES, one tensor for each layer."""
    inputs, _, document = to_device(batch, model.embedding.tokens.weight.device)
    with _watched(model.eval()) as found:
        found["logits"] = [model.logits(inputs[:PROBED], None if document is None else document[:PROBED])]
    return found


@contextmanager
def _watched(model: Transformer) -> Iterator[Activations]:
    found: Activations = {place: [] for place in PLACES}

    def keep(place: str) -> Any:
        return lambda _module, _inputs, output: found[place].append(output)

    hooks = [model.embedding.register_forward_hook(keep("embedding"))]
    for block in model.blocks:
        attention: Any = block.attention
        hooks += [
            attention.core.register_forward_pre_hook(lambda _module, x: found["attention scores"].append(scores(*x))),
            attention.register_forward_hook(keep("attention")),
            block.mlp.register_forward_hook(keep("mlp")),  # type: ignore[union-attr]
            block.register_forward_hook(keep("residual stream")),
        ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def scores(q: Tensor, k: Tensor, *_: object) -> Tensor:
    """Of q [B, H, T, D] and k [B, KV, T, D] before the softmax, less the mean of the keys that a query sees, which the
    softmax does not see: [B, H, T, T], 0 for later keys.
    """
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    found = (q @ k.mT / math.sqrt(q.shape[-1])).tril()
    seen = torch.arange(1, q.shape[2] + 1, device=q.device)[:, None]
    return (found - found.sum(dim=-1, keepdim=True) / seen).tril()


def _rms(parts: Sequence[Tensor]) -> float:
    squares = sum(float(part.double().square().sum()) for part in parts)
    return math.sqrt(squares / sum(part.numel() for part in parts))
