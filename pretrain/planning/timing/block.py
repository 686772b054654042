"""Seconds of one block for one micro-batch on one GPU.

Rows are B x T tokens; H heads, KV key/value heads and F d_ff as a tensor rank has them.
"""

from __future__ import annotations

from pretrain.planning.job import Job
from pretrain.planning.parts import inner_width
from pretrain.planning.timing.attention import attention_seconds
from pretrain.planning.timing.kernels import bytes_seconds, product_seconds
from pretrain.planning.timing.moved import block_moved
from pretrain.planning.timing.network import collective_seconds, group_of
from pretrain.planning.timing.passes import Passes, Spent

KERNELS, TENSOR_KERNELS = 18, 7
"""That a pass of a block starts, about, and more with the exchange of a tensor axis (fitted with `launch_seconds`)."""
SCORE_KERNELS = {"flash": 4, "fused": 16, "plain": 20}
SHOWN = 0.52
"""Share of an exchange that is left where products hide it (fitted)."""


def block_passes(job: Job, seen: int, again: bool) -> Passes:
    """Of a block whose positions see `seen` tokens, computed `again` in the backward pass or not."""
    forward = _pass(job, seen, backward=False)
    backward = _pass(job, seen, backward=True)
    if again:
        backward += _pass(job, seen, backward=False, again=not job.practice.redoes_last)
    elif job.run.parallel.recompute == "selective":
        backward += Spent(attention=forward.attention)
    return Passes(forward, backward)


def _pass(job: Job, seen: int, backward: bool, again: bool = False) -> Spent:
    """`again`: without the last product, whose result nothing needs."""
    practice = job.practice
    hidden = practice.hides_tensor == "both" or (practice.hides_tensor == "backward" and backward)
    times = practice.input_gradients if backward else 1
    exchange = transfer_seconds(job) * SHOWN if hidden else exchange_seconds(job)
    spent = Spent(
        matmul=_products(job, backward, _matrices(job)[: -1 if again else None]) / practice.product_speed,
        attention=attention_seconds(job, seen, backward),
        memory=bytes_seconds(job.hardware, block_moved(job, backward)),
        tensor=times * (_exchanges(job) - (_last(job) if again else 0)) * exchange,
    )
    return started(job, spent, _kernels(job))


def started(job: Job, spent: Spent, kernels: float) -> Spent:
    """With the time that the GPU waits for the host to start so many kernels."""
    behind = spent.total if job.run.cluster.gpus else 0.0  # a CPU computes what it starts itself
    return spent._replace(host=max(0.0, kernels * job.hardware.launch_seconds - behind))


def _exchanges(job: Job) -> int:
    """Of a pass: what enters the attention and the MLP, or what leaves them."""
    return 1 if job.run.model.parallel_block else 2


def _last(job: Job) -> float:
    """Of an exchange, what follows the last product: all, or with sequence parallelism the reduce-scatter."""
    return 0.5 if job.run.parallel.splits_sequence else 1.0


def _products(job: Job, backward: bool, matrices: list[tuple[float, float]]) -> float:
    """Each matrix once forward; backward the gradients of its input and of itself."""
    total = 0.0
    for columns, inner in matrices:
        if backward:
            total += product_seconds(job, job.tokens, inner, columns) + product_seconds(job, inner, columns, job.tokens)
        else:
            total += product_seconds(job, job.tokens, columns, inner)
    return total


def _matrices(job: Job) -> list[tuple[float, float]]:
    """Columns and inner side: queries, keys and values; attention's result; the MLP's two, or a gate's three."""
    model, tensor = job.run.model, job.layout.tensor
    heads, inner = model.heads * model.head_width / tensor, inner_width(model) / tensor
    keys = max(1, model.key_heads / tensor) * model.head_width
    up = [(inner, model.d_model)] * (2 if model.activation == "swiglu" else 1)
    return [(heads + 2 * keys, model.d_model), (model.d_model, heads), *up, (model.d_model, inner)]


def _kernels(job: Job) -> int:
    return KERNELS + SCORE_KERNELS[job.practice.attention] + (TENSOR_KERNELS if job.layout.tensor > 1 else 0)


def exchange_seconds(job: Job) -> float:
    """A hidden state over the tensor axis, and that its ranks wait for one another before it."""
    return transfer_seconds(job) + job.practice.waits if job.layout.tensor > 1 else 0.0


def transfer_seconds(job: Job) -> float:
    """An all-reduce of a hidden state, or an all-gather and a reduce-scatter."""
    group = group_of(job.layout.tensor, 1, job.node_size)
    return 2 * collective_seconds(job.hardware, group, job.tokens * job.run.model.d_model * job.width)
