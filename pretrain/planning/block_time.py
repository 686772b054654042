"""Seconds of one GPU for a layer's forward and backward pass on one micro-batch, by what takes them.

B samples, T tokens, C d_model, H heads, KV key/value heads, D d_head, F d_ff, V padded vocabulary; H, KV, F and V as a
tensor rank has them. Bytes are counted per kernel: what it reads and what it writes.
"""

from __future__ import annotations

from typing import NamedTuple

from pretrain.planning.job import Job
from pretrain.planning.kernels import bytes_seconds, product_seconds
from pretrain.planning.network import collective_seconds, group_of

BACKWARD = 2
"""Products of a backward pass for one of the forward pass: gradients of the input and of the weight."""
FLASH_BACKWARD = 2.5
"""The same for FlashAttention: 5 products for 2 (Dao 2023, section 3.1.2)."""


class Spent(NamedTuple):
    """Seconds of one pass."""

    matmul: float = 0.0
    attention: float = 0.0
    memory: float = 0.0
    """Norms, residuals, activations: bound by bandwidth."""
    host: float = 0.0
    """The GPU waits for the host, which starts kernels one by one."""
    tensor: float = 0.0
    """Exchange over the tensor axis."""

    @property
    def total(self) -> float:
        """All."""
        return sum(self)

    def __add__(self, other: object) -> Spent:
        """Elementwise."""
        assert isinstance(other, Spent)
        return Spent(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, factor: float) -> Spent:
        """Elementwise."""
        return Spent(*(factor * part for part in self))


class Passes(NamedTuple):
    """Of one layer or of all layers of a stage."""

    forward: Spent = Spent()
    backward: Spent = Spent()
    """With what is computed again in it."""

    def __add__(self, other: object) -> Passes:
        """Elementwise."""
        assert isinstance(other, Passes)
        return Passes(self.forward + other.forward, self.backward + other.backward)


def block_passes(job: Job, layer: int) -> Passes:
    """Of block `layer`, counted from 0."""
    forward, backward = _forward(job, layer), _backward(job, layer)
    return Passes(_started(job, forward, 1), _started(job, backward, 1) + _again(job, layer, forward))


def _again(job: Job, layer: int, forward: Spent) -> Spent:
    parallel = job.run.parallel
    if parallel.recompute == "full" and layer % parallel.recompute_every == 0:
        return _started(job, forward, 1)
    if parallel.recompute == "selective" and job.practice.attention in ("fused", "plain"):
        return Spent(attention=forward.attention)
    return Spent()


def _started(job: Job, spent: Spent, passes: float) -> Spent:
    """With the time that the GPU waits for kernels to be started."""
    host = passes * _kernels(job) * job.hardware.launch_seconds
    return spent._replace(host=max(0.0, host - spent.total))


def _kernels(job: Job) -> int:
    """Kernels of a block's pass, about: products, norms, activation, residuals, attention, exchange."""
    attention = {"flash": 6, "flash1": 6, "fused": 12, "plain": 18}[job.practice.attention]
    return attention + (12 if job.practice.fused else 20) + (6 if job.layout.tensor > 1 else 0)


def _forward(job: Job, layer: int) -> Spent:
    return Spent(
        matmul=sum(product_seconds(job.hardware, *shape) for shape in _products(job)),
        attention=_attention(job, layer, 1),
        memory=bytes_seconds(job.hardware, _moved(job, forward=True)),
        tensor=_exchange(job, 2),
    )


def _backward(job: Job, layer: int) -> Spent:
    hardware = job.hardware
    inputs = sum(product_seconds(hardware, rows, inner, columns) for rows, columns, inner in _products(job))
    weights = sum(product_seconds(hardware, inner, columns, rows) for rows, columns, inner in _products(job))
    return Spent(
        matmul=inputs + weights,
        attention=_attention(job, layer, 2),
        memory=bytes_seconds(hardware, _moved(job, forward=False)),
        tensor=_exchange(job, 2),
    )


def _products(job: Job) -> list[tuple[float, float, float]]:
    """Rows, columns and inner side of the forward pass."""
    model, tensor, rows = job.run.model, job.layout.tensor, job.tokens
    width, heads, inner = model.d_model, model.heads * model.head_width / tensor, model.mlp_width / tensor
    keys = max(1, model.key_heads / tensor) * model.head_width
    up = [(rows, inner, width)] * (2 if model.activation == "swiglu" else 1)
    return [(rows, heads + 2 * keys, width), (rows, width, heads), *up, (rows, width, inner)]


def _attention(job: Job, layer: int, passes: int) -> float:
    """Forward (1) or backward (2)."""
    model, tokens = job.run.model, job.run.sequence_length
    heads = job.run.batch.micro_batch_size * model.heads / job.layout.tensor
    kind = job.practice.attention
    if kind in ("flash", "flash1"):
        seen = min(tokens, model.band_of(layer) or tokens)
        flops = 2 * heads * tokens * seen * model.head_width * (1 if passes == 1 else FLASH_BACKWARD)
        speed = job.hardware.efficiency.flash * (1.0 if kind == "flash" else FLASH1) * _flash_shape(job)
        return flops / (job.hardware.tflops * 1e12 * speed)
    products = passes * (
        product_seconds(job.hardware, tokens, tokens, model.head_width, heads)
        + product_seconds(job.hardware, tokens, model.head_width, tokens, heads)
    )
    return products + bytes_seconds(job.hardware, heads * tokens**2 * SCORE_BYTES[kind][passes - 1])


FLASH1 = 0.6
"""Speed of the first FlashAttention by that of the second (Dao 2023, figures 4 to 6)."""
SCORE_BYTES = {"fused": (4, 6), "plain": (26, 26)}
"""Read and written per score, forward and backward."""


def _flash_shape(job: Job) -> float:
    """Short sequences and narrow heads are slower (Dao 2023, figure 4)."""
    tokens, width = job.run.sequence_length, job.run.model.head_width
    return tokens / (tokens + 512) * min(1.0, 0.5 + width / 256)


def _moved(job: Job, forward: bool) -> float:
    """Bytes of norms, residuals, activation, and of what lies between products."""
    model, parallel, tensor = job.run.model, job.run.parallel, job.layout.tensor
    outside = job.tokens / (tensor if parallel.splits_sequence else 1)
    fused = job.practice.fused
    regions = 1 if model.parallel_block else 2
    if model.norm == "layernorm" or fused:
        norm = 4 if forward else 10
    else:
        norm = 26 if forward else 40  # in steps, in fp32
    residual = 6 + (5 if model.dropout else 0)
    mlp = {True: {"swiglu": 6, "gelu": 4}, False: {"swiglu": 10, "gelu": 6}}[forward]
    gate = mlp["swiglu" if model.activation == "swiglu" else "gelu"] * (1 if fused or model.activation != "swiglu" else 1.6)
    turned = 0 if model.positions != "rope" else (4 if fused else 16)
    heads = (model.heads + model.key_heads) * model.head_width / tensor
    between = 8 * model.heads * model.head_width / tensor if job.practice.attention in ("fused", "plain") else 0
    scores = 0.0
    if model.dropout and job.practice.attention in ("fused", "plain"):
        scores = 5 * model.heads / tensor * job.run.sequence_length
    inside = gate * model.mlp_width / tensor + turned * heads + between + scores
    return outside * regions * (norm + residual) * model.d_model + job.tokens * inside


def _exchange(job: Job, units: float) -> float:
    """Over the tensor axis: an all-reduce for each region, or an all-gather and a reduce-scatter."""
    model, tensor = job.run.model, job.layout.tensor
    if tensor == 1:
        return 0.0
    regions = 1 if model.parallel_block else 2
    group = group_of(tensor, 1, job.node_size)
    size = job.tokens * model.d_model * 2
    return regions * units * collective_seconds(job.hardware, group, size)


def embedding_passes(job: Job) -> Passes:
    """Of the lookup, and of a gradient as large as the table."""
    model = job.run.model
    table = model.padded_vocabulary * model.d_model / job.layout.tensor
    forward = bytes_seconds(job.hardware, 8 * job.tokens * model.d_model)
    backward = bytes_seconds(job.hardware, 8 * job.tokens * model.d_model + 8 * table)
    once = _exchange(job, 2) / (1 if model.parallel_block else 2)
    return Passes(Spent(memory=forward, tensor=once), Spent(memory=backward))


def head_passes(job: Job) -> Passes:
    """Of the last norm, the logits and the loss."""
    model = job.run.model
    rows, columns = job.tokens, model.padded_vocabulary / job.layout.tensor
    logits, hardware = rows * columns, job.hardware
    once = _exchange(job, 2) / (1 if model.parallel_block else 2)
    forward = Spent(
        matmul=product_seconds(hardware, rows, columns, model.d_model), memory=bytes_seconds(hardware, 38 * logits)
    )
    backward = Spent(
        matmul=product_seconds(hardware, rows, model.d_model, columns)
        + product_seconds(hardware, model.d_model, columns, rows),
        memory=bytes_seconds(hardware, 12 * logits),
        tensor=once,
    )
    return Passes(forward, backward)
