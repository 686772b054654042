"""A run scaled down until it trains in seconds on a CPU, with every feature left that a layout could get wrong.

What is kept is the class of each size: odd stays odd, padded stays padded, fewer keys than queries stay fewer. The
rules are told one by one in docs/verify.md. Pure functions, without torch.
"""

from __future__ import annotations

from math import ceil, lcm, sqrt
from typing import Any

from pretrain.config.deepspeed import derived
from pretrain.config.layout import Layout
from pretrain.config.model import Model
from pretrain.config.run import Run

LAYERS = 4
"""Enough for the four stages of a DualPipeV over two processes."""
CONTEXT = 32
"""Tokens."""
SAMPLES = 8
"""Of a global batch: enough for the four micro-batches that DualPipeV needs, on each of two data ranks."""
VOCABULARY = 256
"""Rows of the embedding, about."""
SHARING = 4
"""Tensor ranks, two on each of two key heads. No other axis is scaled to 4."""
INIT_STD = 0.1
"""At most. A narrow model needs larger weights for activations as large as in the wide one, without which attention
sees no difference between keys; but those above this are spaced so widely in bf16 that a first update is lost."""
LEARNING_RATE = 1e-3
"""At most: a larger one would make rounding grow from step to step."""


def small_run(run: Run, axes: Layout, steps: int) -> Run:
    """`run` for `steps` steps in fp32, so small that sizes which `axes.tensor` divided still are divided by it.

    `run.parallel` must be settled. It is kept but for its axes, which are `axes`; data are synthetic and of one source.
    """
    model = small_model(run.model, axes.tensor)
    length = model["context"] - (lcm(4, axes.tensor) if run.sequence_length < run.model.context else 0)
    batch, samples = _batch(run, length, steps)
    every = min(run.parallel.recompute_every, model["layers"])
    plain = run.plain() | {
        "train": {"tokens": samples * length, "seed": run.train.seed, "z_loss": run.train.z_loss},
        "model": model,
        "data": {"manifest": "synthetic", "sequence_length": length, "document_mask": run.data.document_mask},
        "batch": batch,
        "optimizer": run.optimizer.plain() | {"learning_rate": min(run.optimizer.learning_rate, LEARNING_RATE)},
        "schedule": _schedule(run, samples * length),
        "precision": {"compute": "fp32"},
        "parallel": run.parallel.plain() | {"pipe": axes.pipe, "tensor": axes.tensor, "recompute_every": every},
        "deepspeed": _passthrough(run),
    }
    return Run.parse(plain)


def small_model(model: Model, tensor: int) -> dict[str, Any]:
    """The fields of the scaled model."""
    heads, key_heads = _heads(model, tensor)
    d_head = _head_width(model.head_width)
    d_model = _width(model, heads * d_head)
    context = lcm(4, tensor) * ceil(CONTEXT / lcm(4, tensor))
    layers = model.layers if model.layers <= LAYERS else LAYERS + model.layers % 2
    vocabulary, multiple = _vocabulary(model, tensor)
    return model.plain() | {
        "layers": layers,
        "d_model": d_model,
        "heads": heads,
        "kv_heads": key_heads if model.kv_heads else None,
        "d_head": d_head,
        "rope_fraction": 1.0 if model.rope_fraction == 1 else 2 * (d_head // 4) / d_head,
        "d_ff": _inner(model, d_model, tensor),
        "context": context,
        "vocab_size": vocabulary,
        "vocab_multiple": multiple,
        "dropout": 0.0,
        "bands": _bands(model, layers, context),
        "attention": model.attention if model.attention in ("plain", "sdpa") else "auto",
        "mup": _mup(model, d_model, d_head),
        "init_std": min(model.init_std * sqrt(model.d_model / d_model), INIT_STD),
    }


def small_tensor(model: Model, tensor: int) -> int:
    """The tensor axis: its smallest prime factor; more where ranks share a key head, so that several groups do."""
    if tensor > model.key_heads > 1 and model.heads % 2 == 0:
        return SHARING
    return next((n for n in range(2, tensor + 1) if tensor % n == 0), 1)


def _heads(model: Model, tensor: int) -> tuple[int, int]:
    """(heads, key/value heads): as many as each other, one for all, or one for four. Odd numbers are kept."""
    if model.heads % 2:
        return model.heads, model.key_heads
    if model.key_heads in (1, model.heads):
        heads = lcm(4, tensor)
        return heads, 1 if model.key_heads == 1 else heads
    key_heads = 2 if tensor == SHARING else lcm(2, tensor)
    return 4 * key_heads, key_heads


def _head_width(width: int) -> int:
    """8 for a power of two, 10 for another even width such as 80; an odd one is kept."""
    if width % 2:
        return width
    return 8 if width & (width - 1) == 0 else 10


def _width(model: Model, heads: int) -> int:
    """d_model: what the heads take together, or a quarter more or less where that is so in the model."""
    given = model.heads * model.head_width
    if model.d_model == given:
        return heads
    return heads + heads // 4 if model.d_model > given else heads - heads // 4


def _inner(model: Model, d_model: int, tensor: int) -> int:
    """d_ff: the same multiple of d_model, as far as tensor ranks can cut it; odd stays odd."""
    unit = tensor if model.mlp_width % 2 else lcm(2, tensor)
    width = unit * ceil(model.mlp_width * d_model / model.d_model / unit)
    return width + unit if model.mlp_width % 2 and width % 2 == 0 else width


def _vocabulary(model: Model, tensor: int) -> tuple[int, int]:
    """(vocabulary, its multiple): padded or not like the model's. One that the tokenizer will give counts as padded."""
    if model.vocab_size and model.padded_vocabulary % 2:
        return tensor * (VOCABULARY // tensor - 1 | 1), tensor  # rows that no even number of ranks can share
    multiple = lcm(16, tensor)
    rows = multiple * ceil(VOCABULARY / multiple)
    whole = model.vocab_size is not None and model.vocab_size == model.padded_vocabulary
    return (rows if whole else rows - 5), multiple


def _bands(model: Model, layers: int, context: int) -> dict[str, int] | None:
    """The same share of the context; at least one layer is banded."""
    if model.bands is None:
        return None
    return {"every": min(model.bands.every, layers), "width": ceil(model.bands.width * context / model.context)}


def _mup(model: Model, d_model: int, d_head: int) -> dict[str, Any] | None:
    """As many times narrower a base, about."""
    if model.mup is None:
        return None
    base = {"base_d_model": max(1, round(d_model / model.width_ratio))}
    if model.mup.base_d_head:
        base["base_d_head"] = max(1, round(d_head * model.score_scale**2))
    return model.mup.plain() | base


def _batch(run: Run, length: int, steps: int) -> tuple[dict[str, Any], int]:
    """The batch, and the samples of all steps. A ramp doubles the batch for the last tenth of them."""
    if run.batch.ramp is None:
        return {"global_batch_size": SAMPLES}, steps * SAMPLES
    late = min(steps - 1, ceil(steps / 10))
    ramp = {"start": SAMPLES, "tokens": (steps - late) * SAMPLES * length}
    return {"global_batch_size": 2 * SAMPLES, "ramp": ramp}, (steps + late) * SAMPLES


def _schedule(run: Run, tokens: int) -> dict[str, Any]:
    """The same curve over the few steps there are."""
    stretches = ("warmup", "timescale", "cooldown")
    short = {name: tokens // 4 for name in stretches if getattr(run.schedule, name)}
    return run.schedule.plain() | short | {"decay": None}


def _passthrough(run: Run) -> dict[str, Any]:
    """What is added to DeepSpeed's JSON, without what repeats the run's own sizes."""
    decided = derived(run, run.parallel.tensor * run.parallel.pipe).keys() - {"zero_optimization"}
    return {key: value for key, value in run.deepspeed.items() if key not in decided}
