"""Seconds of the embedding and of the head for one micro-batch on one GPU."""

from __future__ import annotations

from pretrain.config.chunks import tokens_at_once
from pretrain.planning.job import Job
from pretrain.planning.timing.block import exchange_seconds, started
from pretrain.planning.timing.kernels import bytes_seconds, product_seconds
from pretrain.planning.timing.passes import Passes, Spent

LOOKUP = 4
"""Numbers moved for each of a hidden state: rows of two tables read, their sum and its dropout written; the gradient
likewise."""
TABLE = 4
"""Numbers moved for each of the table when its gradient, which is as large, is made and added to the sum."""
LOGIT_BYTES = {"steps": (55.0, 33.0), "kernel": (2.0, 4.0), "chunks": (62.0, 0.0)}
"""Moved per logit by the loss, forward and backward: by operator (fitted), by one kernel, and by our chunks, whose
forward pass makes the gradients too (counted in pretrain/model/loss.py)."""
SUMMED, SCALED = 12, 10
"""Moved per number of the head's weight when its gradient is added to the sum in fp32, and when the sum is scaled."""
KERNELS = 23
"""That a pass of the embedding or of the head starts, with what else the host does for a micro-batch (fitted)."""


def embedding_passes(job: Job) -> Passes:
    """Of the lookup, and of a gradient as large as the table."""
    model = job.run.model
    state = LOOKUP * job.width * job.tokens * model.d_model
    table = TABLE * job.width * model.padded_vocabulary * model.d_model / job.layout.tensor
    forward = Spent(memory=bytes_seconds(job.hardware, state), tensor=exchange_seconds(job))
    backward = Spent(memory=bytes_seconds(job.hardware, state + table))
    return Passes(started(job, forward, KERNELS), started(job, backward, KERNELS))


def head_passes(job: Job) -> Passes:
    """Of the logits and the loss."""
    forward, backward = _chunked(job) if job.practice.loss == "chunks" else _whole(job)
    forward, backward = (
        spent._replace(memory=spent.memory + bytes_seconds(job.hardware, moved * job.tokens * _columns(job)))
        for spent, moved in zip((forward, backward), LOGIT_BYTES[job.practice.loss], strict=True)
    )
    backward = backward._replace(tensor=exchange_seconds(job))
    return Passes(started(job, forward, KERNELS), started(job, backward, KERNELS))


def _columns(job: Job) -> float:
    """Of the logits, on a tensor rank."""
    return job.run.model.padded_vocabulary / job.layout.tensor


def _whole(job: Job) -> tuple[Spent, Spent]:
    """All logits at once."""
    first, *gradients = _products(job, job.tokens)
    return Spent(matmul=first), Spent(matmul=sum(gradients))


def _chunked(job: Job) -> tuple[Spent, Spent]:
    """Logits of some tokens at a time; the weight's gradient is summed in fp32 from chunk to chunk."""
    rows = min(job.tokens, tokens_at_once(_columns(job), job.device))
    chunks, weight = job.tokens / rows, _columns(job) * job.run.model.d_model
    summed, scaled = (bytes_seconds(job.hardware, moved * weight) for moved in (SUMMED * chunks, SCALED))
    return Spent(matmul=chunks * sum(_products(job, rows)), memory=summed), Spent(memory=scaled)


def _products(job: Job, rows: float) -> tuple[float, float, float]:
    """Logits of `rows` tokens, the gradient of the hidden state and that of the weight."""
    width, columns = job.run.model.d_model, _columns(job)
    shapes = (rows, columns, width), (rows, width, columns), (width, columns, rows)
    first, hidden, weight = (product_seconds(job, *shape) for shape in shapes)
    return first, hidden, weight
