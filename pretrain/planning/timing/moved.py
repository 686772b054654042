"""Bytes that a block moves beside its products: norms, residuals, activation, positions, rearranged heads.

Per token and kernel, what it reads and what it writes, in 16 bits. C d_model, H heads, D d_head, F d_ff; H and F as a
tensor rank has them. Fused: a kernel for each of rotation, gate, and residual with dropout; else one for each
operator of PyTorch. RMSNorm is one kernel, or PyTorch's operators in fp32.
"""

from __future__ import annotations

from typing import NamedTuple

from pretrain.planning.job import Job
from pretrain.planning.parts import inner_width


class Moved(NamedTuple):
    """Bytes per number of 16 bits."""

    forward: int
    backward: int


NORM, NORM_IN_STEPS = Moved(4, 10), Moved(36, 78)
RESIDUAL = Moved(6, 6)
DROPPED, DROPPED_APART = Moved(1, 1), Moved(5, 5)
GELU, GATE, GATE_IN_STEPS = Moved(4, 6), Moved(6, 10), Moved(10, 16)
TURNED, TURNED_IN_STEPS = Moved(4, 4), Moved(16, 16)
REARRANGED = Moved(8, 8)
"""Queries, keys, values and result, where written-out products want other orders."""


def block_moved(job: Job, backward: bool) -> float:
    """Bytes of one block and micro-batch."""
    return job.width / 2 * (_outside(job, backward) + _inside(job, backward))


def _outside(job: Job, backward: bool) -> float:
    """Between the regions of a tensor axis: cut by tokens with sequence parallelism, else done by every rank."""
    run, fused = job.run, job.practice.fused
    norm = NORM if run.model.norm == "layernorm" or job.practice.keeps.fused_norm else NORM_IN_STEPS
    dropped = (DROPPED if fused else DROPPED_APART)[backward] if run.model.dropout else 0
    regions = 1 if run.model.parallel_block else 2
    tokens = job.tokens / (job.layout.tensor if run.parallel.splits_sequence else 1)
    return tokens * regions * (norm[backward] + RESIDUAL[backward] + dropped) * run.model.d_model


def _inside(job: Job, backward: bool) -> float:
    model, fused = job.run.model, job.practice.fused
    activation = GELU if model.activation != "swiglu" else GATE if fused else GATE_IN_STEPS
    turned = (TURNED if fused else TURNED_IN_STEPS)[backward] if model.positions == "rope" else 0
    rearranged = 0 if job.practice.attention == "flash" else REARRANGED[backward]
    heads = turned * (model.heads + model.key_heads) + rearranged * model.heads
    return job.tokens * (activation[backward] * inner_width(model) + heads * model.head_width) / job.layout.tensor
