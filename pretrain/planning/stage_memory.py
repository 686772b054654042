"""Bytes on one GPU of a pipeline stage, by part: what must fit."""

from __future__ import annotations

from typing import NamedTuple

from pretrain.planning.activations import Storing, stage_bytes
from pretrain.planning.job import Job
from pretrain.planning.memory import States, states_in
from pretrain.planning.parts import parts_in
from pretrain.planning.workspace import block_workspace, exchange_buffers, head_workspace

CONTEXT = 1e9
"""Bytes of the CUDA context, the kernels and the workspace of cuBLAS. Fitted, with the next two, to what fitted and
what did not in Hagemann et al. 2023 (docs/planning-memory.md); BLOOM's peaks agree."""
COMMUNICATOR = 0.5e9
"""Bytes of NCCL for each axis of more than one rank."""
MARGIN = 0.3
"""Of activations: what the allocator cannot use because it is in pieces. States are laid out once and have none."""


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
    ranks = min(job.layout.data, job.practice.group or job.layout.data)
    states = _offloaded(job, states_in(run, ranks, layers, keeps.widths_of(run)))
    activations = sum(in_flight(job, pipe, stage) * stage_bytes(run, part, kept) for stage, part in held.items())
    margin = MARGIN * activations if keeps.in_pieces else 0.0
    return StageMemory(*states, activations, _buffers(job, layers, kept), margin)


def _buffers(job: Job, layers: list[range], kept: Storing) -> float:
    """The head's and a block's workspace are added up: one is in pieces when the other is asked for."""
    has_head = any(job.run.model.layers + 1 in part for part in layers)
    work = block_workspace(job, kept) + (head_workspace(job, kept) if has_head else 0.0)
    parts = parts_in(job.run.model, job.run.parallel.tensor, layers)
    axes = sum(size > 1 for size in job.layout)
    return CONTEXT + COMMUNICATOR * axes + work + exchange_buffers(job, parts)


def _offloaded(job: Job, states: States) -> States:
    """Without what lives in the host's memory; sums of gradients go there with the optimizer."""
    if job.run.parallel.offload == "none":
        return states
    gradients = states.gradients if job.run.parallel.zero < 2 else 0.0
    parameters = 0.0 if job.run.parallel.offload == "all" else states.parameters
    return States(parameters, gradients, 0.0)


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
