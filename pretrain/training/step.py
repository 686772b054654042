"""One optimizer step: micro-batches forward and backward, one loss, one update."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from pretrain.config.errors import RunError
from pretrain.data.batch import Batch
from pretrain.parallel.process import World
from pretrain.parallel.zero import gradient_norm
from pretrain.training.optimizer import set_learning_rate


class DivergedError(RunError):
    """The loss or the gradient is no longer a number."""


@dataclass(frozen=True)
class SourceLoss:
    """Sums over all ranks, one entry per source."""

    loss: list[float]
    """Nats."""
    tokens: list[int]
    """Target tokens."""

    @property
    def mean(self) -> float:
        """Sum of all losses / number of all target tokens: never a mean of means."""
        return sum(self.loss) / max(1, sum(self.tokens))

    def per_source(self, names: tuple[str, ...]) -> dict[str, float]:
        """Mean loss of each source that was in the batch."""
        rows = zip(names, self.loss, self.tokens, strict=True)
        return {name: loss / tokens for name, loss, tokens in rows if tokens}


@dataclass(frozen=True)
class StepResult:
    """What one step did."""

    losses: SourceLoss
    grad_norm: float
    """Before clipping."""
    data_seconds: float
    """Waited for the loader."""
    votes: list[bool]
    """For each vote of this rank, whether any rank voted so."""


def to_device(batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """(inputs [B, T], targets [B, T] with -100 where none, document [B, T] or None) of a batch."""
    tokens = torch.from_numpy(batch.tokens).to(device, torch.int64, non_blocking=True)
    targets = tokens[:, 1:].masked_fill(~torch.from_numpy(batch.is_target).to(device), -100)
    document = None if batch.document is None else torch.from_numpy(batch.document).to(device)
    return tokens[:, :-1].contiguous(), targets, document


def train_step(
    engine: Any,
    batches: Iterator[Batch],
    micro_batches: int,
    sources: int,
    world: World,
    rate: float,
    votes: list[bool],
) -> StepResult:
    """Run the next `micro_batches` of this rank and update the weights with learning rate `rate`.

    `votes` travel with the loss: what ranks agree on at each step costs no message of its own.

    Raises DivergedError on every rank alike, before the update when the loss is not finite.
    """
    started = time.perf_counter()
    mine = [next(batches) for _ in range(micro_batches)]
    data_seconds = time.perf_counter() - started
    targets = _target_tokens(mine, world)
    sums = torch.zeros(2 * sources, dtype=torch.float64, device=world.device)
    for number, batch in enumerate(mine):
        engine.set_gradient_accumulation_boundary(number == micro_batches - 1)
        inputs, wanted, document = to_device(batch, world.device)
        losses = engine(inputs, wanted, document)
        # DeepSpeed averages gradients over ranks; what is wanted is the sum / target tokens of the global batch.
        engine.backward(losses.total * (world.size / targets), scale_wrt_gas=False)
        add_losses(sums, losses.per_token, batch)
    agreed = world.sum(torch.cat([sums, sums.new_tensor(votes)]))
    result = source_loss(agreed[: 2 * sources])
    if not math.isfinite(result.mean):
        raise DivergedError(f"the loss is {result.mean}")
    norm = gradient_norm(engine)
    set_learning_rate(engine.optimizer, rate)
    engine.step()
    norm = float(engine.get_global_grad_norm()) if norm is None else norm
    if not math.isfinite(norm):
        raise DivergedError(f"the gradient norm is {norm}")
    return StepResult(result, norm, data_seconds, [bool(vote) for vote in agreed[2 * sources :] > 0])


def add_losses(sums: torch.Tensor, per_token: torch.Tensor, batch: Batch) -> None:
    """Add losses per token [B, T] to `sums` [2S, ...]: S sums of losses, then S numbers of target tokens."""
    source = torch.from_numpy(batch.source).to(sums.device)
    count = torch.from_numpy(batch.is_target.sum(axis=1)).to(sums)
    sources = len(sums) // 2
    sums.index_add_(0, source, per_token.sum(dim=1, dtype=torch.float64))
    sums.index_add_(0, source + sources, count)


def source_loss(sums: torch.Tensor) -> SourceLoss:
    """The sums [2S] that add_losses made."""
    values = sums.tolist()
    half = len(values) // 2
    return SourceLoss(values[:half], [int(value) for value in values[half:]])


def _target_tokens(batches: list[Batch], world: World) -> float:
    """Target tokens of the global batch, known before the step; only masked documents need to be asked for."""
    mine = sum(batch.target_tokens for batch in batches)
    if all(batch.document is None for batch in batches):
        return float(mine * world.size)
    return float(world.sum(torch.tensor(float(mine), dtype=torch.float64, device=world.device)).item())
