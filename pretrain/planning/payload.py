"""Bytes that a rank has to send in one step, by axis and collective: the minimum of the algorithm that is used.

One all-gather or reduce-scatter over n ranks sends (n - 1) / n of the whole tensor, an all-reduce twice that
(Rajbhandari et al. 2020, section 7). Shapes: B x T x C of a micro-batch's hidden state, e bytes of a number.

tensor  with sequence parallelism (Korthikanti et al. 2022, section 4.2.2), B T C e each: of a block 6 all-gathers (2
        forward, 2 of gradients, 2 of inputs again) and 4 reduce-scatters; of embedding and head 1 of each. Without it 4
        all-reduces of a block, 1 of embedding and of head. A parallel block enters and leaves once: half of that.
        Heads that share a key/value head put it together. The loss exchanges 2 floats per token and rank. Gradients of
        parameters that all ranks hold: one all-reduce a micro-batch, with sequence parallelism only; those of the norms
        of queries and keys always.
pipe    the hidden state forward and its gradient back, per micro-batch and border of stages; tied ends: one all-reduce.
data    gradients and parameters as ZeRO says (sections 7.1, 7.2): 0 one all-reduce a step; 1 one reduce-scatter and one
        all-gather; 2 the reduce-scatter for each micro-batch; 3 for each micro-batch two all-gathers (forward and
        backward) and a reduce-scatter.
"""

from __future__ import annotations

from typing import NamedTuple

from pretrain.config.counts import head_norms
from pretrain.config.layout import Layout
from pretrain.config.run import Run
from pretrain.planning.parts import Parts, layers_of, parts_of


class Line(NamedTuple):
    """What a rank sends for one purpose, in bytes."""

    axis: str
    """tensor, pipe or data."""
    what: str
    useful: float
    """The minimum."""
    duplicates: float = 0
    """What another tensor rank sends just so."""
    padding: float = 0
    """Rows that pad the vocabulary, and what rounds tensors up so that ranks get equal parts."""


def step_payload(run: Run, layout: Layout, micro_batches: int, pipe: int) -> list[Line]:
    """What a rank at place `pipe` of the pipe axis sends in one step of `micro_batches` per data rank."""
    lines = [*_tensor(run, layout, micro_batches, pipe), *_pipe(run, layout, micro_batches, pipe)]
    return lines + _data(run, layout, micro_batches, pipe)


def number_bytes(run: Run) -> int:
    """e: of weights, activations and their gradients."""
    return 4 if run.precision.compute == "fp32" else 2


def _hidden(run: Run) -> int:
    """B T C e."""
    return run.batch.micro_batch_size * run.sequence_length * run.model.d_model * number_bytes(run)


def _share(ranks: int) -> float:
    return (ranks - 1) / ranks


# tensor --------------------------------------------------------------------------------------------------------------


def _tensor(run: Run, layout: Layout, micro_batches: int, pipe: int) -> list[Line]:
    size, layers = layout.tensor, layers_of(run, pipe)
    if size == 1:
        return []
    blocks = [layer - 1 for layer in layers if 0 < layer <= run.model.layers]
    ends = sum(layer in (0, run.model.layers + 1) for layer in layers)
    passes = sum(_passes(run, block) for block in blocks) + 2 * ends
    lines = [Line("tensor", "hidden states", micro_batches * passes * _share(size) * _hidden(run))]
    sharers = max(1, size // run.model.key_heads)
    if sharers > 1:
        joined = sum(2 + _again(run, block) for block in blocks) * _share(sharers) * _keys(run)
        lines.append(Line("tensor", "shared keys and values", micro_batches * joined))
    if run.model.layers + 1 in layers:
        tokens = run.batch.micro_batch_size * run.sequence_length
        lines.append(Line("tensor", "losses", micro_batches * 2 * 4 * tokens * (size - 1)))
    summed = parts_of(run, pipe).repeated if run.parallel.splits_sequence else len(blocks) * head_norms(run.model)
    if summed:
        sent = micro_batches * 2 * _share(size) * summed * number_bytes(run)
        lines.append(Line("tensor", "gradients of repeated parameters", sent))
    return lines


def _passes(run: Run, block: int) -> int:
    """All-gathers and reduce-scatters of a block; an all-reduce is two. Recomputed: inputs, outputs but the last."""
    regions, again = (1 if run.model.parallel_block else 2), _again(run, block)
    if run.parallel.splits_sequence:
        return 5 * regions + again * (2 * regions - 1)
    return 4 * regions + again * 2 * (regions - 1)


def _again(run: Run, block: int) -> bool:
    return run.parallel.recompute == "full" and block % run.parallel.recompute_every == 0


def _keys(run: Run) -> int:
    """Bytes of the key and the value of one head."""
    return 2 * run.batch.micro_batch_size * run.sequence_length * run.model.head_width * number_bytes(run)


# pipe ----------------------------------------------------------------------------------------------------------------


def _pipe(run: Run, layout: Layout, micro_batches: int, pipe: int) -> list[Line]:
    if layout.pipe == 1:
        return []
    borders = (pipe < layout.pipe - 1) + (pipe > 0)
    if run.parallel.schedule == "dualpipev":
        borders *= 2  # out and back
    sent = micro_batches * borders * _hidden(run)
    once = sent / layout.tensor
    lines = [Line("pipe", "hidden states", once, 0 if run.parallel.splits_sequence else sent - once)]
    is_end = pipe in (0, layout.pipe - 1)
    if run.model.tied_embeddings and is_end and run.parallel.schedule == "1f1b":
        # Two ranks: an all-reduce sends the whole once. Gradients of bf16 weights are summed in fp32.
        row = run.model.d_model * 4 / layout.tensor
        padding = (run.model.padded_vocabulary - run.model.vocabulary) * row
        lines.append(Line("pipe", "tied embedding", run.model.vocabulary * row, 0, padding))
    return lines


# data ----------------------------------------------------------------------------------------------------------------


def _data(run: Run, layout: Layout, micro_batches: int, pipe: int) -> list[Line]:
    if layout.data == 1:
        return []
    parts, zero, width = parts_of(run, pipe), run.parallel.zero, number_bytes(run)
    if zero == 0:
        return [_line("gradients", 2 * width, parts, layout, 0)]
    rounding = _rounding(parts, layout.data) if zero < 3 else 0
    reductions = micro_batches if zero > 1 else 1
    gathers = 2 * micro_batches if zero == 3 else 1
    return [
        _line("gradients", reductions * width, parts, layout, 0),
        _line("parameters", gathers * width, parts, layout, rounding),
    ]


def _line(what: str, width: float, parts: Parts, layout: Layout, rounding: int) -> Line:
    scale = width * _share(layout.data)
    duplicates = parts.repeated * (layout.tensor - 1) / layout.tensor
    useful = parts.total - parts.padding - duplicates
    return Line("data", what, scale * useful, scale * duplicates, scale * (parts.padding + rounding))


def _rounding(parts: Parts, ranks: int) -> int:
    """DeepSpeed lays matrices and vectors end to end and rounds each up to a multiple of 2 x ranks."""
    groups = (parts.matrices, parts.vectors + parts.repeated)
    return sum(-size % (2 * ranks) for size in groups)
