"""One optimizer step: micro-batches forward and backward, one loss, one update."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from pretrain.config.errors import RunError
from pretrain.data.batch import Batch, Cost
from pretrain.parallel.mesh import Mesh
from pretrain.parallel.runner import MicroBatch, Runner
from pretrain.resilience.spikes import Finding, History, Verdict
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
    z_loss: float
    """Mean over target tokens, beside the loss; its weight included."""
    grad_norm: float
    """Before clipping; NaN for every norm that is no number."""
    data_seconds: float
    """Waited for the loader."""
    read: Cost
    """Of the corpus, by all ranks together."""
    votes: list[bool]
    """For each vote of this rank, whether any rank voted so."""
    verdict: Verdict
    """Whether something is wrong with the step, and what was done."""
    clues: Clues | None = None
    """Where the loss or the gradient is no number, what this rank knows of it."""


@dataclass(frozen=True)
class Clues:
    """What one rank saw before anything was summed over ranks."""

    samples: list[tuple[int, int]]
    """(micro-batch, row in it) of this rank's samples whose own loss is no number."""
    micro_batches: int
    rows: int
    """Samples whose loss this rank computed."""
    weights: list[str]
    """Parameters on this rank that are not finite."""
    gradient: bool
    """Whether this rank's own gradient was no number."""


Judge = Callable[[float, float], Verdict]
"""What to do about a step with this loss (nats) and gradient norm; the same on every rank."""


def numbers_only(loss: float, norm: float) -> Verdict:
    """A Judge. Raises DivergedError when the loss or the gradient norm is no number."""
    for finding in (Finding("loss", loss), Finding("grad_norm", norm)):
        if not math.isfinite(finding.value):
            raise DivergedError(str(finding))
    return Verdict(History())


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
    judge: Judge = numbers_only,
    hold: Callable[[], None] = lambda: None,
) -> StepResult:
    """Run the next `micro_batches` of this rank and update the weights with learning rate `rate`, if `judge` lets it.

    `targets` is the number of target tokens in the global batch; None: the ranks count them. `votes` travel with the
    loss: what ranks agree on at each step costs no message of its own. `hold` returns when weights and moments may
    change: a checkpoint of the step before may still be reading them.

    Raises what `judge` raises, on every rank alike and before the update.
    """
    started = time.perf_counter()
    mine = [next(batches) for _ in range(micro_batches)] if runner.reads else []
    data_seconds = time.perf_counter() - started
    mesh.world.at("step")
    targets = targets or _count_targets(mine, mesh)
    fed = [to_device(batch, mesh.world.device) for batch in mine]
    passed = runner.accumulate(fed, micro_batches, 1 / targets)
    sums = torch.zeros(2 * sources + 1, dtype=torch.float64, device=mesh.world.device)
    if runner.reports:
        for batch, losses in zip(mine, passed, strict=True):
            add_losses(sums[:-1], losses.per_token, batch)
            sums[-1] += losses.z_loss
    read = [sum(batch.cost[part] for batch in mine) for part in range(2)]
    agreed = mesh.world.sum(torch.cat([sums, sums.new_tensor([*read, *votes])]))
    result = source_loss(agreed[: 2 * sources])
    z_loss, *told = agreed[2 * sources :].tolist()
    runner.reduce()
    norm = agreed_norm(runner, mesh)
    verdict = judge(result.mean, norm)
    hold()
    if verdict.updates:
        set_learning_rate(runner.engine.optimizer, rate)
        runner.update()
    else:
        runner.leave_out()
    if verdict.overflow and not verdict.finding:
        runner.sensor.take()  # what it saw is no clue to a later step
    clues = None
    if verdict.finding and not verdict.finding.is_number:
        clues = _clues(runner, fed, [losses.per_token for losses in passed], micro_batches, mesh)
    read, agreed_votes = [int(number) for number in told[:2]], [vote > 0 for vote in told[2:]]
    return StepResult(result, z_loss / targets, norm, data_seconds, Cost(*read), agreed_votes, verdict, clues)


def agreed_norm(runner: Runner, mesh: Mesh) -> float:
    """Rank 0's gradient norm on every rank: a last bit that differed would let ranks decide differently, and hang."""
    norm = runner.norm()
    mine = norm if mesh.world.is_writer else 0.0
    return mesh.world.sum(torch.tensor(mine, dtype=torch.float64, device=mesh.world.device)).item()


def _clues(runner: Runner, fed: list[MicroBatch], per_token: list[torch.Tensor], number: int, mesh: Mesh) -> Clues:
    """What this rank saw of a loss or gradient that is no number. All ranks call it together, no update was made.

    When no rank's watched gradients tell, the passes are run once more with all gradients watched.
    """
    bad = [
        (index, row)
        for index, losses in enumerate(per_token)
        for row in (~torch.isfinite(losses).all(dim=1)).nonzero().flatten().tolist()
    ]
    named = runner.engine.module.named_parameters()
    held = ((name, getattr(p, "ds_tensor", p)) for name, p in named)  # ZeRO 3: this rank's piece
    weights = [name for name, value in held if not bool(torch.isfinite(value).all())]
    gradient = runner.sensor.take()
    known = torch.tensor(float(gradient or bool(bad) or bool(weights)), device=mesh.world.device)
    if not mesh.world.sum(known).item():
        with runner.sensor.everything():
            runner.accumulate(fed, number, 1.0)
        runner.reduce()
        runner.leave_out()
        gradient = runner.sensor.take()
    return Clues(bad, number, sum(len(losses) for losses in per_token), weights, gradient)


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
