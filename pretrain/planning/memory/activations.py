"""Bytes of activations that a rank keeps for the backward pass, layer by layer.

The same sum as in Korthikanti et al. 2022, section 4 (table 2), with what is really stored as a parameter: with the
paper's assumptions it gives s b h (34 + 5 a s / h) and its variants, with ours what these layers keep.

B samples, T tokens, C d_model, H heads, KV key/value heads, D d_head, F d_ff; H, KV and F as a tensor rank has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pretrain.config.model import Model
from pretrain.config.parallel import Parallel
from pretrain.config.run import Run
from pretrain.planning.parts import inner_width, stage_layers
from pretrain.planning.payload import number_bytes
from pretrain.planning.pipeline.idle import Instruction


class Storing(NamedTuple):
    """Bytes of what is kept; 0: not at all."""

    number: int
    """An activation."""
    softmax: int
    """A number that the written-out softmax keeps; where it is not an activation's type, the product keeps it again."""
    mask: int
    """An element of a dropout mask."""
    statistic: int
    """A mean or scale of a norm per token."""
    log_sum: int
    """A fused attention kernel's logarithm per head and token."""
    fused_rms: bool = True
    """Whether RMSNorm keeps its input only; on a CPU PyTorch computes it in steps and keeps two fp32 copies."""
    bias: bool = False
    """Whether ALiBi is a table of all scores; on a GPU FlexAttention computes it."""
    written_out: bool = False
    """Whether attention keeps all scores although the model does not ask for it."""
    whole_logits: bool = False
    """Whether the loss is not computed in chunks: then it keeps no gradients, and its logits are for workspace.py."""
    products: bool = False
    """Whether selective recompute keeps the result of attention and of every other product (torchtitan's), no more."""


PAPER = Storing(2, 2, 1, 0, 0)
"""16-bit activations, one byte for an element of a mask, statistics neglected (section 4)."""


def storing(run: Run, on_gpu: bool = True) -> Storing:
    """What PyTorch keeps. On a CPU a dropout mask is as wide as what it masks, statistics as the norm's input."""
    width = number_bytes(run)
    return Storing(width, 4, 1, 4, 4) if on_gpu else Storing(width, 4, width, width, 4, fused_rms=False, bias=True)


def block_bytes(model: Model, parallel: Parallel, batch: int, tokens: int, layer: int, kept: Storing) -> float:
    """Of one block for one micro-batch of `batch` x `tokens`."""
    outside = batch * tokens / (parallel.tensor if parallel.splits_sequence else 1)
    if parallel.recompute == "full" and layer % parallel.recompute_every == 0:
        return outside * model.d_model * kept.number
    if kept.products and parallel.recompute == "selective":
        return batch * tokens * _products(model, parallel, kept) + outside * model.d_model * kept.number
    parts = 1 if model.parallel_block else 2  # a norm, its result, and a dropout mask for each
    masks = model.d_model * kept.mask if model.dropout else 0
    apart = parts * (_norm(model, model.d_model, kept) + model.d_model * kept.number + masks)
    inside = _attention(model, parallel, tokens, kept) + _mlp(model, parallel) * kept.number
    return outside * apart + batch * tokens * inside


def _norm(model: Model, width: int, kept: Storing) -> int:
    """Per token: the input and its statistics."""
    if model.norm == "layernorm":
        return width * kept.number + 2 * kept.statistic
    return width * kept.number + kept.statistic if kept.fused_rms else 2 * 4 * width + 4


def _attention(model: Model, parallel: Parallel, tokens: int, kept: Storing) -> float:
    """Per token: queries, keys, values, what the core keeps, and its result; what the norms of the first two keep."""
    heads, keys = model.heads / parallel.tensor, max(1, model.key_heads / parallel.tensor)
    norms = (heads + keys) * _norm(model, model.head_width, kept) if model.qk_norm else 0
    if parallel.recompute == "selective":
        core = 0.0
    elif is_written_out(model, kept):
        core = heads * tokens * _score(model, kept)
        keys = heads  # repeated for each query head before the product
    else:
        core = heads * kept.log_sum
    return (heads + 2 * keys + heads) * model.head_width * kept.number + core + norms


def _products(model: Model, parallel: Parallel, kept: Storing) -> float:
    """Per token: queries, values, attention and its logarithm, gate or MLP's input; of the last product a hidden state.

    In the order of execution: queries, keys, values, output, gate, the other half, MLP's output.
    """
    heads, keys = model.heads / parallel.tensor, max(1, model.key_heads / parallel.tensor)
    numbers = (2 * heads + keys) * model.head_width + inner_width(model) / parallel.tensor + model.d_model
    return numbers * kept.number + heads * kept.log_sum


def is_written_out(model: Model, kept: Storing) -> bool:
    """Whether attention makes all scores."""
    return model.attention == "plain" or kept.written_out


def _score(model: Model, kept: Storing) -> int:
    """Bytes of one score: the softmax's result, the dropout mask and what is left after it."""
    if model.dropout:
        return kept.softmax + kept.mask + kept.number
    return kept.softmax + (kept.number if kept.number != kept.softmax else 0)


def _mlp(model: Model, parallel: Parallel) -> float:
    """Numbers per token: input and result of the activation; SwiGLU: gate, its activation, the other half, product."""
    return (4 if model.activation == "swiglu" else 2) * inner_width(model) / parallel.tensor


def embedding_bytes(model: Model, parallel: Parallel, batch: int, tokens: int, kept: Storing) -> float:
    """Token ids (int64; cut: also which are this rank's), positions likewise, the dropout mask."""
    index = 8 + (parallel.tensor > 1)
    positions = tokens * index if model.positions == "learned" else 0
    outside = batch * tokens / (parallel.tensor if parallel.splits_sequence else 1)
    masks = outside * model.d_model * kept.mask if model.dropout else 0
    return batch * tokens * index + positions + masks


def head_bytes(model: Model, parallel: Parallel, batch: int, tokens: int, kept: Storing) -> float:
    """The final norm, and the loss: it keeps no logits but the gradients of its input and, in fp32, of its weight."""
    outside = batch * tokens / (parallel.tensor if parallel.splits_sequence else 1)
    if kept.whole_logits:
        return outside * (_norm(model, model.d_model, kept) + model.d_model * kept.number)
    weight = model.padded_vocabulary / parallel.tensor * model.d_model * 4
    return outside * _norm(model, model.d_model, kept) + batch * tokens * model.d_model * kept.number + weight


def stage_bytes(run: Run, stage: range, kept: Storing) -> float:
    """Of one micro-batch in the layers `stage` of [embedding, blocks, head], with what they share."""
    model, shape = run.model, (run.batch.micro_batch_size, run.sequence_length)
    total = _shared(run, kept)
    if 0 in stage:
        total += embedding_bytes(model, run.parallel, *shape, kept)
    if model.layers + 1 in stage:
        total += head_bytes(model, run.parallel, *shape, kept)
    blocks = range(max(1, stage.start) - 1, min(stage.stop, model.layers + 1) - 1)
    for alike in _alike(blocks, run.parallel):
        total += len(alike) * block_bytes(model, run.parallel, *shape, alike[0], kept)
    return total


def _alike(blocks: range, parallel: Parallel) -> Iterator[range | list[int]]:
    """Blocks that keep as much."""
    if parallel.recompute != "full" or parallel.recompute_every == 1:
        kinds: list[range | list[int]] = [blocks]
    else:
        again = [block for block in blocks if block % parallel.recompute_every == 0]
        kinds = [again, [block for block in blocks if block % parallel.recompute_every]]
    return (kind for kind in kinds if kind)


def _shared(run: Run, kept: Storing) -> float:
    """Rotary cosines and sines; the mask of written-out attention, or ALiBi's for a fused one (a sum keeps nothing)."""
    model, tokens, written_out = run.model, run.sequence_length, is_written_out(run.model, kept)
    if model.positions == "alibi":
        return 0 if written_out or not kept.bias else _biases(run) * kept.number
    rotary = tokens * model.rope_width * 4 if model.positions == "rope" else 0
    return rotary + (tokens**2 if written_out else 0)


def _biases(run: Run) -> float:
    """Numbers: a table of all scores of each head, for each width of bands, and for each sample with its documents."""
    model, tokens = run.model, run.sequence_length
    widths = {min(model.band_of(layer) or tokens, tokens) for layer in range(model.layers)}
    samples = run.batch.micro_batch_size if run.data.document_mask else 1
    return len(widths) * samples * model.heads / run.parallel.tensor * tokens**2


def activation_bytes(run: Run, pipe: int, kept: Storing, order: Sequence[Instruction] = ()) -> float:
    """The most that a rank at place `pipe` keeps at once; a pipeline's rank executes its passes in `order`."""
    by_stage = {stage: stage_bytes(run, layers, kept) for stage, layers in stage_layers(run, pipe).items()}
    if run.parallel.pipe == 1:
        return by_stage[0]
    now = most = 0.0
    for (kind, _, stage), _ in order:
        now += by_stage[stage] if kind == "F" else -by_stage[stage]
        most = max(most, now)
    return most
