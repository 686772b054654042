"""Seconds of one optimizer step, by what takes them: passes through the pipeline, exchange, update."""

from __future__ import annotations

from typing import NamedTuple

from pretrain.planning.block_time import Passes, Spent, block_passes, embedding_passes, head_passes
from pretrain.planning.job import Job
from pretrain.planning.kernels import bytes_seconds
from pretrain.planning.network import collective_seconds, group_of, send_seconds
from pretrain.planning.parts import parts_of, stage_layers

ACCUMULATED = 8
"""Bytes moved per parameter and micro-batch: its gradient is added to a sum in fp32."""
UPDATED = 34
"""Bytes per parameter of an update: gradient, master weight and two moments read, all but the gradient and the rounded
weight written, and the norm's pass over the gradient."""
SCALED = 8
"""Bytes per parameter that a rank holds before ZeRO: gradients are set to zero and averaged."""


class StepTime(NamedTuple):
    """Seconds of a step, on the rank that is slowest."""

    matmul: float
    attention: float
    memory: float
    host: float
    tensor: float
    pipe: float
    """Messages between stages that the schedule waits for."""
    data: float
    """Exchange over the data axis that nothing hides."""
    bubble: float
    """Idle because the pipeline fills and empties, or because another stage is slower."""
    optimizer: float
    hidden: float
    """Exchange over the data axis behind the passes: no part of the step."""

    @property
    def total(self) -> float:
        """Of the step."""
        return sum(self) - self.hidden


def step_time(job: Job) -> StepTime:
    """The step of `job`."""
    stages = [stage_passes(job, pipe) for pipe in range(job.layout.pipe)]
    busy = [stage.forward.total + stage.backward.total for stage in stages]
    slowest = max(range(len(stages)), key=lambda stage: busy[stage])
    many, mine = job.micro_batches, stages[slowest].forward + stages[slowest].backward
    send = _send(job)
    bubble = sum(busy) - busy[slowest]
    if job.practice.virtual > 1:
        bubble /= job.practice.virtual
    fill = 2 * send * (job.layout.pipe - 1)
    pipe = fill + (many - 1) * 2 * send * job.practice.virtual if job.layout.pipe > 1 else 0.0
    data, hidden = _data(job, many, mine, slowest, stages)
    spent = mine.times(many)
    return StepTime(*spent, pipe, data, bubble, _optimizer(job), hidden)


def stage_passes(job: Job, pipe: int) -> Passes:
    """Of one micro-batch through all that a rank at place `pipe` holds."""
    total = Passes()
    model = job.run.model
    for layers in stage_layers(job.run, pipe).values():
        for layer in layers:
            if layer == 0:
                total += embedding_passes(job)
            elif layer == model.layers + 1:
                total += head_passes(job)
            else:
                total += block_passes(job, layer - 1)
    summed = ACCUMULATED * parts_of(job.run, pipe).total
    return total + Passes(Spent(), Spent(memory=bytes_seconds(job.hardware, summed)))


def _send(job: Job) -> float:
    """One hidden state to the next stage."""
    if job.layout.pipe == 1:
        return 0.0
    size = job.tokens * job.run.model.d_model * 2
    split = job.run.parallel.splits_sequence or job.practice.spreads_pipe
    inside = job.layout.processes <= job.node_size
    return send_seconds(job.hardware, size / (job.layout.tensor if split else 1), inside)


def _data(job: Job, many: float, mine: Spent, slowest: int, stages: list[Passes]) -> tuple[float, float]:
    """Seconds of the exchange over the data axis that are waited for, and that are hidden."""
    layout, zero = job.layout, job.run.parallel.zero
    if layout.data == 1:
        return 0.0, 0.0
    size = 2 * parts_of(job.run, slowest).total
    group = group_of(layout.data, layout.tensor, job.node_size)
    once = collective_seconds(job.hardware, group, size)
    if zero == 3:
        needed = 3 * once * many
        behind = 0.9 * mine.times(many).total
        hidden = min(needed, behind)
        return needed - hidden, hidden
    gathered = once
    if job.practice.group:
        gathered = collective_seconds(job.hardware, group_of(min(layout.data, job.practice.group), layout.tensor, job.node_size), size)
        needed = 2 * once  # all-reduce over all, states of a part
        needed, gathered = 2 * once, gathered
    else:
        needed = once * (many if zero == 2 else 1) if zero else 2 * once
        gathered = once if zero else 0.0
    behind = 0.0
    if job.practice.hides_gradients:
        behind = stages[slowest].backward.total * (many if zero == 2 else 1)
    hidden = min(needed, behind)
    return needed - hidden + gathered, hidden


def _optimizer(job: Job) -> float:
    most = max(parts_of(job.run, pipe).total for pipe in {0, job.layout.pipe - 1})
    ranks = job.practice.group or job.layout.data
    share = min(ranks, job.layout.data) if job.run.parallel.zero else 1
    return bytes_seconds(job.hardware, most * (UPDATED / share + SCALED))
