"""A run in a few lines a person can check before starting it."""

from __future__ import annotations

from pretrain.config.counts import flops_per_token, parameter_count
from pretrain.config.run import Run


def summary(run: Run, processes: int) -> str:
    """Sizes, batch arithmetic and length of the run; needs no data and no torch."""
    samples = run.batch.global_batch_size.samples(run.sequence_length)
    tokens = samples * run.sequence_length
    accumulation = samples // (run.batch.micro_batch_size * processes)
    lines = [f"{run.name}: valid for {processes} process{'es' if processes > 1 else ''}"]
    model = run.model
    shape = f"{model.layers} layers, d_model {model.d_model}, {model.heads} heads, context {model.context}"
    if model.vocab_size:
        flops = flops_per_token(model, run.sequence_length) * run.train.tokens
        lines.append(f"model   {parameter_count(model).total / 1e6:,.1f}M parameters ({shape})")
        lines.append(f"compute {flops:.3g} model FLOPs = {flops / 8.64e19:.3g} PF-days")
    else:
        lines.append(f"model   {shape}, vocabulary of the tokenizer")
    lines.append(
        f"batch   {samples} samples = {tokens:,} tokens = {processes} processes x {accumulation} micro-batches "
        f"x {run.batch.micro_batch_size}"
    )
    ramp = f" at the full batch, ramp from {run.batch.ramp.start.model_dump()}" if run.batch.ramp else ""
    lines.append(f"length  {run.train.tokens:,} tokens = {-(-run.train.tokens // tokens):,} steps{ramp}")
    return "\n".join(lines)
