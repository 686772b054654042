"""Seconds of the embedding and of the head for one micro-batch on one GPU."""

from __future__ import annotations

from pretrain.planning.job import Job
from pretrain.planning.timing.block import exchange_seconds, started
from pretrain.planning.timing.kernels import bytes_seconds, product_seconds
from pretrain.planning.timing.passes import Passes, Spent

LOOKUP = 4
"""Numbers moved for each of a hidden state: rows of two tables read, their sum and its dropout written; the gradient
likewise."""
TABLE = 4
"""Numbers moved for each of the table when its gradient, which is as large, is made and added to the sum."""
LOGIT_BYTES = (29.5, 17.7)
"""Moved per logit by the loss, forward and backward (fitted)."""
KERNELS = 24
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
    width, rows, columns = job.run.model.d_model, job.tokens, job.run.model.padded_vocabulary / job.layout.tensor
    gradients = product_seconds(job, rows, width, columns) + product_seconds(job, width, columns, rows)
    loss = [bytes_seconds(job.hardware, moved * rows * columns) for moved in LOGIT_BYTES]
    forward = Spent(matmul=product_seconds(job, rows, columns, width), memory=loss[0])
    backward = Spent(matmul=gradients, memory=loss[1], tensor=exchange_seconds(job))
    return Passes(started(job, forward, KERNELS), started(job, backward, KERNELS))
