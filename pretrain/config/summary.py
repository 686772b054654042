"""A run in a few lines a person can check before starting it."""

from __future__ import annotations

from pretrain.config.counts import flops_per_token, parameter_count
from pretrain.config.layout import layout_of
from pretrain.config.model import Model
from pretrain.config.parallel import Parallel
from pretrain.config.run import Run
from pretrain.config.stages import layer_costs, stages_of


def summary(run: Run, processes: int) -> str:
    """Sizes, layout, batch arithmetic and length of a checked run; needs no data and no torch."""
    lines = [f"{run.name}: valid for {processes} process{'es' if processes > 1 else ''}"]
    lines += _model(run)
    lines.append(f"layout  {layout_line(run.parallel, processes)}")
    if run.parallel.pipe > 1:
        lines += _stages(run)
    samples = run.batch.global_batch_size.samples(run.sequence_length)
    tokens, data = samples * run.sequence_length, layout_of(run.parallel, processes).data
    accumulation = samples // (run.batch.micro_batch_size * data)
    share = f"data {data} x {accumulation} micro-batches x {run.batch.micro_batch_size}"
    lines.append(f"batch   {samples} samples = {tokens:,} tokens = {share}")
    ramp = f" at the full batch, ramp from {run.batch.ramp.start.model_dump()}" if run.batch.ramp else ""
    lines.append(f"length  {run.train.tokens:,} tokens = {-(-run.train.tokens // tokens):,} steps{ramp}")
    return "\n".join(lines)


def layout_line(parallel: Parallel, processes: int) -> str:
    """`pipe 2 x data 2 x tensor 2, ZeRO 1, sequence parallel`, with what else is not the default."""
    parts = [str(layout_of(parallel, processes)), f"ZeRO {parallel.zero}"]
    if parallel.splits_sequence:
        parts.append("sequence parallel")
    if parallel.pipe > 1:
        parts.append({"1f1b": "1F1B", "dualpipev": "DualPipeV"}[parallel.schedule])
    if parallel.recompute != "none":
        every = f", every {parallel.recompute_every}" if parallel.recompute_every > 1 else ""
        parts.append(f"recompute {parallel.recompute}{every}")
    if parallel.offload != "none":
        parts.append(f"offload {parallel.offload}")
    return ", ".join(parts)


def _model(run: Run) -> list[str]:
    model = run.model
    shape = f"{model.layers} layers, d_model {model.d_model}, {model.heads} heads, context {model.context}"
    if not model.vocab_size:
        return [f"model   {shape}, vocabulary of the tokenizer"]
    flops = flops_per_token(model, run.sequence_length) * run.train.tokens
    return [
        f"model   {parameter_count(model).total / 1e6:,.1f}M parameters ({shape})",
        f"compute {flops:.3g} model FLOPs = {flops / 8.64e19:.3g} PF-days",
    ]


def _stages(run: Run) -> list[str]:
    """One line per stage: where on the pipe axis (DualPipeV goes back and forth), its layers, its share of FLOPs."""
    if not run.model.vocab_size:
        return ["stages  cut when the vocabulary is known: the head counts as much as its rows"]
    costs, pipe = layer_costs(run.model, run.sequence_length), run.parallel.pipe
    lines = []
    for stage, layers in enumerate(stages_of(run.model, run.parallel, run.sequence_length)):
        share = sum(costs[layer] for layer in layers) / sum(costs)
        place = f"pipe {min(stage, 2 * pipe - 1 - stage)}"
        lines.append(f"{'' if stage else 'stages':7} {place}: {_names(run.model, layers)} ({share:.1%})")
    return lines


def _names(model: Model, items: range) -> str:
    """Of indices into [embedding, blocks, head]; blocks are counted from 0."""
    first, last = max(items.start - 1, 0), min(items.stop - 2, model.layers - 1)
    names = ["embedding"] if items.start == 0 else []
    if first <= last:
        names.append(f"layer {first}" if first == last else f"layers {first}-{last}")
    return ", ".join([*names, *(["head"] if items.stop == model.layers + 2 else [])])
