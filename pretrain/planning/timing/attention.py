"""Seconds of attention's core, scores to values, for one micro-batch on one GPU.

B samples, H heads as a tensor rank has them, D d_head, T tokens, of which a position of a banded layer sees `seen`.
"""

from __future__ import annotations

from pretrain.planning.job import Job
from pretrain.planning.timing.kernels import bytes_seconds, product_seconds

FLASH_BACKWARD = 2.5
"""FLOPs of FlashAttention's backward pass by its forward pass: 5 products for 2 (Dao 2023, section 3.1.2)."""
FLASH_RAMP = 1380.0
"""Tokens at which FlashAttention has half its speed (fitted; Dao 2023, figures 4 to 6)."""
NARROW = 0.85
"""Its speed with very narrow heads by that with 128 columns (fitted)."""
SCORE_BYTES = {"fused": (4.0, 6.0), "plain": (27.3, 27.3)}
"""Read and written per score, forward and backward, in 16 bits: one kernel for softmax and mask, or an operator for
each of scale, mask, conversion to fp32 and back, and softmax (the latter fitted)."""
RING = 0.86
"""Speed of FlashAttention where ranks share out a sample's tokens and pass keys and values round (fitted)."""
DROPPED = 5
"""And for dropout's own kernel: scores and mask."""


def attention_seconds(job: Job, seen: int, backward: bool) -> float:
    """Of one block's forward or backward pass."""
    return _flash(job, seen, backward) if job.practice.attention == "flash" else _written_out(job, backward)


def _heads(job: Job) -> float:
    """B x H."""
    return job.run.batch.micro_batch_size * job.run.model.heads / job.layout.tensor / job.practice.context


def _flash(job: Job, seen: int, backward: bool) -> float:
    """Only what the causal mask leaves is computed."""
    tokens, width = job.run.sequence_length, job.run.model.head_width
    flops = 4 * _heads(job) * (tokens * seen - seen**2 / 2) * width * (FLASH_BACKWARD if backward else 1)
    shape = tokens / (tokens + FLASH_RAMP) * min(1.0, NARROW + (1 - NARROW) * width / 128)
    shape *= RING if job.practice.context > 1 else 1
    return flops / (job.peak * job.hardware.efficiency.flash * job.practice.flash_speed * shape)


def _written_out(job: Job, backward: bool) -> float:
    """Two products, four in the backward pass, and the passes over the scores."""
    tokens, width, heads = job.run.sequence_length, job.run.model.head_width, _heads(job)
    products = product_seconds(job, tokens, tokens, width, heads) + product_seconds(job, tokens, width, tokens, heads)
    moved = SCORE_BYTES[job.practice.attention][backward] + (DROPPED if job.run.model.dropout else 0)
    scores = heads * tokens**2 * moved * job.width / 2
    return products * (2 if backward else 1) + bytes_seconds(job.hardware, scores)
