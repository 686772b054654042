"""Bytes on one GPU of a pipeline stage, by part: what must fit."""

from __future__ import annotations

from typing import NamedTuple

from pretrain.planning.activations import activation_bytes, storing
from pretrain.planning.idle import one_forward_one_backward
from pretrain.planning.job import Job
from pretrain.planning.memory import state_bytes

MARGIN = 0.05
"""Of everything else: what the allocator cannot use because it is in pieces."""
CONTEXT = 1.5e9
"""Of the CUDA context, its libraries' and NCCL's buffers."""


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
    states = state_bytes(job.run, job.layout, pipe)
    order = one_forward_one_backward(job.layout.pipe, int(job.micro_batches))[pipe]
    activations = activation_bytes(job.run, pipe, storing(job.run), order)
    parts = (*states, activations, CONTEXT)
    return StageMemory(*parts, MARGIN * sum(parts))
