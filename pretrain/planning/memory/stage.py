"""Bytes on one GPU of a pipeline stage, by part: what must fit."""

from __future__ import annotations

from typing import NamedTuple

from pretrain.config.widths import widths_of
from pretrain.planning.job import Job
from pretrain.planning.memory.activations import stage_bytes
from pretrain.planning.memory.states import States, states_of
from pretrain.planning.memory.workspace import block_workspace, exchange_buffers, head_workspace, sent_bytes
from pretrain.planning.parts import blocks_in, parts_in, parts_of

CONTEXT = 1e9
"""Bytes of the CUDA context, the kernels and the workspace of cuBLAS; on a CPU about what Python and PyTorch take.
Fitted, with the next three, to what fitted and what did not in published runs (docs/planning-memory.md)."""
COMMUNICATOR = 0.5e9
"""Bytes of NCCL for each axis of more than one rank."""
MARGIN = 0.3
"""Of activations: what the allocator cannot use because it is in pieces. States are laid out once and have none."""
MARGIN_ALIKE = 0.1
"""The same where all that is kept are inputs of blocks, of one size: with full recompute."""


class StageMemory(NamedTuple):
    """Bytes on each GPU of a stage at its fullest."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    buffers: float
    """Of exchange and of what lives for one operator; the CUDA context and NCCL."""
    margin: float
    """Fragmentation."""

    @property
    def total(self) -> float:
        """All."""
        return sum(self)


def stage_memory(job: Job, pipe: int) -> StageMemory:
    """Of a GPU at place `pipe` of the pipe axis."""
    run, keeps, held = job.run, job.practice.keeps, job.layers_at(pipe)
    layers, kept = list(held.values()), keeps.storing(run, job.practice.attention in ("fused", "plain"))
    parts, blocks = parts_in(run.model, run.parallel.tensor, layers), blocks_in(run.model, layers)
    ranks = min(job.layout.data, job.practice.group or job.layout.data)
    states = states_of(run, ranks, parts, blocks, keeps.widths_of(run))
    flights = {stage: in_flight(job, pipe, stage) for stage in held}
    activations = sum(flights[stage] * stage_bytes(run, part, kept) for stage, part in held.items())
    # A block's workspace comes on top of the head's: one is in pieces when the other is asked for.
    work = block_workspace(job, kept) + exchange_buffers(job, parts)
    for stage, part in held.items():
        if part.stop > run.model.layers + 1:
            work += head_workspace(job, kept)
        else:
            work += flights[stage] * sent_bytes(job)
    axes = sum(size > 1 for size in job.layout) if run.cluster.gpus else 0
    buffers = CONTEXT + COMMUNICATOR * axes + work
    return StageMemory(*_offloaded(job, states), activations, buffers, _margin(job) * activations)


def _margin(job: Job) -> float:
    parallel = job.run.parallel
    if not job.practice.keeps.in_pieces:
        return 0.0
    return MARGIN_ALIKE if parallel.recompute == "full" and parallel.recompute_every == 1 else MARGIN


def _offloaded(job: Job, states: States) -> States:
    """Without what lives in the host's memory; sums of gradients go there with the optimizer."""
    if job.run.parallel.offload == "none":
        return states
    gradients = states.gradients if job.run.parallel.zero < 2 else 0.0
    parameters = 0.0 if job.run.parallel.offload == "all" else states.parameters
    return States(parameters, gradients, 0.0)


def host_bytes(job: Job) -> float:
    """Of each node's own memory, for what is offloaded there."""
    parallel, widths = job.run.parallel, widths_of(job.run)
    if parallel.offload == "none":
        return 0.0
    moved = widths.optimizer + widths.gradient + (widths.parameter if parallel.offload == "all" else 0)
    most = max(parts_of(job.run, pipe).total for pipe in range(job.layout.pipe))
    return most * moved / job.layout.data * job.node_size


def host_holds(job: Job) -> bool:
    """Whether a node's own memory does, where it is known."""
    return job.hardware.host_memory is None or host_bytes(job) <= job.hardware.host_memory


def in_flight(job: Job, pipe: int, stage: int) -> float:
    """Micro-batches whose activations a rank keeps of one of its stages when it keeps most.

    1F1B: p at the first place, one fewer at each. DualPipeV at place r: 2p - r on the way out and r + 1 on the way
    back, both at once. Interleaved, v parts a rank: p (1 + (p - 1) / (p v)) at the first place, in units of all its
    layers, 2 / v fewer at each (Korthikanti et al. 2022, section 4.2.3).
    """
    size, virtual = job.layout.pipe, job.practice.virtual
    if job.run.parallel.schedule == "dualpipev" and size > 1:
        return 2 * size - pipe if stage == pipe else pipe + 1
    if virtual > 1 and size > 1:
        return min(job.micro_batches, (2 * (size - pipe - 1) + (virtual - 1) * size + 1) / virtual)
    return min(job.micro_batches, size - pipe)


class Fit(NamedTuple):
    """The stage of a job that needs most."""

    stage: int
    """Place on the pipe axis."""
    memory: StageMemory
    capacity: float
    """Bytes that a process can allocate on the GPU."""

    @property
    def fits(self) -> bool:
        """Whether the job does."""
        return self.memory.total <= self.capacity

    @property
    def part(self) -> str:
        """The largest part of the stage's memory."""
        return max(self.memory._fields, key=lambda name: getattr(self.memory, name))


def fits(job: Job) -> Fit:
    """Whether every stage of `job` fits, and the fullest one."""
    found = {pipe: stage_memory(job, pipe) for pipe in _extremes(job)}
    fullest = max(found, key=lambda pipe: found[pipe].total)
    return Fit(fullest, found[fullest], job.hardware.memory)


def _extremes(job: Job) -> set[int]:
    """First and last place of those that hold alike layers: what is in flight changes evenly from place to place."""
    alike: dict[tuple[tuple[int, bool, bool], ...], list[int]] = {}
    for pipe in range(job.layout.pipe):
        held = job.layers_at(pipe).values()
        shape = tuple((len(part), 0 in part, job.run.model.layers + 1 in part) for part in held)
        alike.setdefault(shape, []).append(pipe)
    return {pipe for places in alike.values() for pipe in (places[0], places[-1])}
