"""One optimizer step: micro-batches forward and backward, one loss, one update."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from pretrain.config.errors import RunError
from pretrain.data.batch import Batch
from pretrain.parallel.mesh import Mesh
from pretrain.parallel.runner import MicroBatch, Runner
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


def to_device(batch: Batch, device: torch.device) -> MicroBatch:
    """(inputs [B, T], targets [B, T] with -100 where none, document [B, T] or None) of a batch."""
    tokens = torch.from_numpy(batch.tokens).to(device, torch.int64, non_blocking=True)
    targets = tokens[:, 1:].masked_fill(~torch.from_numpy(batch.is_target).to(device), -100)
    document = None if batch.document is None else torch.from_numpy(batch.document).to(device)
    return tokens[:, :-1].contiguous(), targets, document


def train_step(
    runner: Runner,
    batches: Iterator[Batch],
    micro_batches: int,
    targets: int | None,
    sources: int,
    mesh: Mesh,
    rate: float,
    votes: list[bool],
) -> StepResult:
    """Run the next `micro_batches` of this rank and update the weights with learning rate `rate`.

    `targets` is the number of target tokens in the global batch; None: the ranks count them. `votes` travel with the
    loss: what ranks agree on at each step costs no message of its own.

    Raises DivergedError on every rank alike, before the update when the loss is not finite.
    """
    started = time.perf_counter()
    mine = [next(batches) for _ in range(micro_batches)] if runner.reads else []
    data_seconds = time.perf_counter() - started
    mesh.world.at("step")
    targets = targets or _count_targets(mine, mesh)
    fed = [to_device(batch, mesh.world.device) for batch in mine]
    per_token = runner.accumulate(fed, micro_batches, 1 / targets)
    sums = torch.zeros(2 * sources, dtype=torch.float64, device=mesh.world.device)
    if runner.reports:
        for batch, losses in zip(mine, per_token, strict=True):
            add_losses(sums, losses, batch)
    agreed = mesh.world.sum(torch.cat([sums, sums.new_tensor(votes)]))
    result = source_loss(agreed[: 2 * sources])
    if not math.isfinite(result.mean):
        raise DivergedError(f"the loss is {result.mean}")
    runner.reduce()
    set_learning_rate(runner.engine.optimizer, rate)
    norm = runner.update()
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


def _count_targets(batches: list[Batch], mesh: Mesh) -> int:
    """Target tokens of the global batch, known before the step; each data rank's are counted once."""
    counts = mesh.at.pipe == 0 and mesh.at.tensor == 0
    mine = sum(batch.target_tokens for batch in batches) if counts else 0
    return int(mesh.world.sum(torch.tensor(mine, dtype=torch.int64, device=mesh.world.device)).item())
