"""When each rank of a job's pipeline computes what: its order replayed with the seconds of its own stages."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from pretrain.config.stages import layer_costs, stage_count
from pretrain.planning.job import Job
from pretrain.planning.parts import stage_layers
from pretrain.planning.pipeline.idle import Costs, Timeline, one_forward_one_backward, replay
from pretrain.planning.pipeline.orders import Orders, dualpipev, interleaved
from pretrain.planning.timing.step import send, stage_passes


def timeline(job: Job, most: int | None = None) -> Timeline:
    """The passes of one step, or of its first `most` micro-batches."""
    many = ceil(job.micro_batches)
    return replay(orders(job, many if most is None else min(many, most)), stage_costs(job))


def orders(job: Job, micro_batches: int) -> Orders:
    """Of the job's schedule; where it needs more micro-batches than these, of so many."""
    pipe, virtual = job.layout.pipe, job.practice.virtual
    if stages(job) == pipe:
        return one_forward_one_backward(pipe, micro_batches)
    if virtual > 1:
        return interleaved(pipe, ceil(micro_batches / pipe) * pipe, virtual)
    return dualpipev(pipe, max(2 * pipe, micro_batches))


def stages(job: Job) -> int:
    """Of the whole pipeline."""
    return max(stage_count(job.run.parallel), job.layout.pipe * job.practice.virtual)


def stage_costs(job: Job) -> Costs:
    """Seconds of each stage; those of a rank that holds several are shared out by the FLOPs of their layers."""
    forward, backward = ([0.0] * stages(job) for _ in "FB")
    for pipe in range(job.layout.pipe):
        passes = stage_passes(job, pipe)
        for stage, share in _shares(job, pipe).items():
            forward[stage], backward[stage] = share * passes.forward.total, share * passes.backward.total
    return Costs(tuple(forward), tuple(backward), send(job))


def _shares(job: Job, pipe: int) -> dict[int, float]:
    """By stage of a rank: its part of the rank's time."""
    size, virtual = job.layout.pipe, job.practice.virtual
    if virtual > 1:
        return {part * size + pipe: 1 / virtual for part in range(virtual)}
    if stages(job) == size:
        return {pipe: 1.0}
    costs = layer_costs(job.run.model, job.run.sequence_length)
    flops = {stage: sum(costs[layer] for layer in layers) for stage, layers in stage_layers(job.run, pipe).items()}
    return {stage: part / sum(flops.values()) for stage, part in flops.items()}


def recompute_shares(job: Job) -> list[float]:
    """By place on the pipe axis: what of a backward pass is forward passes done again."""
    update = {"recompute": "none"}
    run = job.run.model_copy(update={"parallel": job.run.parallel.model_copy(update=update)})
    plain = replace(job, run=run)
    places = range(job.layout.pipe)
    both = [(stage_passes(plain, pipe).backward.total, stage_passes(job, pipe).backward.total) for pipe in places]
    return [max(0.0, 1 - without / whole) for without, whole in both]
