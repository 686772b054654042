"""Seconds of one optimizer step, by what takes them: passes through the pipeline, exchange, update."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from pretrain.planning.job import Job
from pretrain.planning.parts import parts_in
from pretrain.planning.timing.block import SHOWN, block_passes
from pretrain.planning.timing.ends import embedding_passes, head_passes
from pretrain.planning.timing.kernels import bytes_seconds
from pretrain.planning.timing.network import Group, collective_seconds, group_of, send_seconds
from pretrain.planning.timing.passes import Passes, Spent

UPDATED = 31.0
"""Bytes moved per parameter by an update: gradient, master weight and two moments read, all but the gradient and the
rounded weight written (fitted; counted, 30)."""
SCALED = 21.4
"""Bytes moved per parameter that a rank holds before ZeRO: gradients are set to zero, copied together, averaged, and
their norm is taken (fitted). For ZeRO 3 too, whose published steps are planned worse when its ranks share this out."""
FETCHED = {"fsdp": (1.0, 0.9), "deepspeed": (4.0, 0.0)}
"""Of ZeRO 3: how long its exchange takes by what a ring does, and behind which share of the passes it goes on. FSDP's
first gather of a pass has nothing before it. DeepSpeed's as Narayanan et al. 2021, table 2, measured it."""


class StepTime(NamedTuple):
    """Seconds of a step, on the rank that is slowest."""

    matmul: float
    attention: float
    memory: float
    """Norms, residuals, activations: bound by the memory's bandwidth."""
    host: float
    """The GPU waits for the host to start kernels."""
    tensor: float
    """Exchange over the tensor axis."""
    pipe: float
    """Messages between stages that the schedule waits for, and the sum of a tied embedding's gradients."""
    data: float
    """Exchange over the data axis that nothing hides."""
    bubble: float
    """The pipeline fills and empties."""
    optimizer: float
    hidden: float
    """Exchange over the data axis behind the passes: no part of the step."""

    @property
    def total(self) -> float:
        """Of the step."""
        return sum(self) - self.hidden


class Exchange(NamedTuple):
    """Seconds over the data axis."""

    shown: float
    hidden: float


def step_time(job: Job) -> StepTime:
    """The step of `job`: its slowest stage all the time, the others while the pipeline fills and empties."""
    stages = [stage_passes(job, pipe) for pipe in range(job.layout.pipe)]
    busy = [stage.forward.total + stage.backward.total for stage in stages]
    slowest = max(range(len(stages)), key=busy.__getitem__)
    exchange = _exchange(job, slowest, stages[slowest])
    spent = (stages[slowest].forward + stages[slowest].backward).times(job.micro_batches)
    bubble = _bubble(job, stages)
    sent = messages(job) * send(job) + tied_seconds(job)
    return StepTime(*spent, sent, exchange.shown, bubble, _update_seconds(job), exchange.hidden)


def stage_passes(job: Job, pipe: int) -> Passes:
    """Of one micro-batch through all that a rank at place `pipe` holds."""
    model, stages = job.run.model, job.layers_at(pipe).values()
    layers = [layer for stage in stages for layer in stage]
    total = embedding_passes(job) if 0 in layers else Passes()
    if model.layers + 1 in layers:
        total += head_passes(job)
    for kind, number in Counter(_kind(job, layer - 1) for layer in layers if 0 < layer <= model.layers).items():
        total += block_passes(job, *kind).times(number)
    summed = job.practice.accumulated * _parameters(job, pipe)
    return total + Passes(Spent(), Spent(memory=bytes_seconds(job.hardware, summed)))


def _parameters(job: Job, pipe: int) -> int:
    """Of a tensor rank at place `pipe`."""
    return parts_in(job.run.model, job.layout.tensor, list(job.layers_at(pipe).values())).total


def _kind(job: Job, block: int) -> tuple[int, bool]:
    """What blocks differ in: tokens that a position sees, and whether the block is computed again."""
    run = job.run
    seen = min(run.sequence_length, run.model.band_of(block) or run.sequence_length)
    return seen, run.parallel.recompute == "full" and block % run.parallel.recompute_every == 0


# pipe ----------------------------------------------------------------------------------------------------------------


def _bubble(job: Job, stages: list[Passes]) -> float:
    """Passes of the other ranks for one micro-batch. Interleaved: of one of their parts (Narayanan et al. 2021, 2.2).

    DualPipeV as DeepSpeed orders it saves p / 2 forward passes: what its replay gives for every p and m when stages are
    equal (tests/planning/pipeline/test_timeline.py).
    """
    busy = [stage.forward.total + stage.backward.total for stage in stages]
    others = sum(busy) - max(busy)
    if job.run.parallel.schedule == "dualpipev" and len(stages) > 1:
        return max(0.0, others - sum(stage.forward.total for stage in stages) / 2)
    return others / job.practice.virtual


def messages(job: Job) -> float:
    """Hidden states and their gradients: two for each micro-batch of a rank, and those of the filling."""
    if job.layout.pipe == 1:
        return 0.0
    each = 2 if job.run.parallel.schedule == "dualpipev" else job.practice.virtual
    return 2 * (job.layout.pipe - 1 + (job.micro_batches - 1) * each)


def tied_seconds(job: Job) -> float:
    """The all-reduce of an embedding's gradient that first and last stage share, in fp32 where weights are bf16.
    DualPipeV has both on one rank."""
    model, parallel = job.run.model, job.run.parallel
    if job.layout.pipe == 1 or not model.tied_embeddings or parallel.schedule == "dualpipev":
        return 0.0
    width = 4 if job.run.precision.compute == "bf16" else job.width
    size = width * model.padded_vocabulary * model.d_model / job.layout.tensor
    apart = Group(2, 2 if job.layout.processes <= job.node_size else 1)
    return 2 * collective_seconds(job.hardware, apart, size)


def send(job: Job) -> float:
    """A hidden state to the next stage."""
    if job.layout.pipe == 1:
        return 0.0
    size = job.tokens * job.run.model.d_model * job.width
    split = job.run.parallel.splits_sequence or job.practice.spreads_pipe
    inside = job.layout.processes <= job.node_size
    return send_seconds(job.hardware, size / (job.layout.tensor if split else 1), inside)


# data ----------------------------------------------------------------------------------------------------------------


def _exchange(job: Job, slowest: int, passes: Passes) -> Exchange:
    """As ZeRO says (Rajbhandari et al. 2020, section 7): gradients, then parameters."""
    zero, many = job.run.parallel.zero, job.micro_batches
    if job.layout.data == 1:
        return Exchange(0.0, 0.0)
    size = job.width * _parameters(job, slowest)
    once = _over(job, job.layout.data, size)
    if zero == 3:
        times, share = FETCHED[job.practice.fetches]
        return _hide(times * 3 * once * many, share * many * (passes.forward.total + passes.backward.total))
    if job.practice.group:  # summed over all, states shared out over a part
        return _gathered(_hide(2 * once, 0.0), _over(job, job.practice.group, size))
    hides = job.practice.hides_gradients or zero == 2  # overlap_comm (config/deepspeed.py)
    behind = passes.backward.total * (many if zero == 2 else 1) if hides else 0.0
    whole = zero == 0 or (zero == 1 and job.practice.sums_whole)
    gradients = _hide(2 * once if whole else once * (many if zero == 2 else 1), behind)
    if zero == 2 and job.practice.fetches == "deepspeed":
        gradients = _in_the_way(gradients)
    return _gathered(gradients, once + job.practice.in_turn * job.layout.data if zero else 0.0)


def _over(job: Job, ranks: int, size: float) -> float:
    group = group_of(min(ranks, job.layout.data), job.layout.tensor, job.node_size)
    return collective_seconds(job.hardware, group, size)


def _hide(needed: float, behind: float) -> Exchange:
    hidden = min(needed, behind)
    return Exchange(needed - hidden, hidden)


def _in_the_way(exchange: Exchange) -> Exchange:
    """What goes on beside products holds them up, as over the tensor axis; of DeepSpeed's overlap nothing is known."""
    return Exchange(exchange.shown + SHOWN * exchange.hidden, (1 - SHOWN) * exchange.hidden)


def _gathered(gradients: Exchange, parameters: float) -> Exchange:
    return gradients._replace(shown=gradients.shown + parameters)


# update --------------------------------------------------------------------------------------------------------------


def _update_seconds(job: Job) -> float:
    """Of the stage with most parameters; offloaded states are updated by the host."""
    most = max(_parameters(job, pipe) for pipe in {0, job.layout.pipe - 1})
    ranks = min(job.practice.group or job.layout.data, job.layout.data) if job.run.parallel.zero else 1
    before = bytes_seconds(job.hardware, most * SCALED)
    if job.run.parallel.offload != "none":
        return before + most / ranks * _over_the_bus(job) / (job.hardware.host_bandwidth * 1e9)
    return before + bytes_seconds(job.hardware, most * UPDATED / ranks)


def _over_the_bus(job: Job) -> float:
    """Bytes per offloaded parameter: gradients in fp32 out and weights in; the update, at no more than the bus's speed
    where all GPUs' hosts share one memory. From ZeRO 2 on each further micro-batch's gradients are added to sums that
    lie on the host; offloaded parameters come for each forward and each backward pass."""
    parallel, more = job.run.parallel, job.micro_batches - 1
    sums = 8 * more if parallel.zero >= 2 else 0
    fetched = 2 * job.width * job.micro_batches if parallel.offload == "all" else 0
    return 4 + job.width + UPDATED + sums + fetched
