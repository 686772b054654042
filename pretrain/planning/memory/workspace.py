"""Bytes that live for one operator or one block of the backward pass, and buffers of the exchange."""

from __future__ import annotations

from pretrain.config.chunks import tokens_at_once
from pretrain.config.deepspeed import tuned
from pretrain.config.load import merge
from pretrain.planning.job import Job
from pretrain.planning.memory.activations import Storing, block_bytes, is_written_out
from pretrain.planning.parts import Parts, inner_width
from pretrain.planning.payload import number_bytes

FLAT = 500_000_000
"""Elements of gradients that DeepSpeed lays end to end to reduce them, where no bucket is set: engine.py's
MEMORY_OPT_ALLREDUCE_SIZE."""
LIVE = 1_000_000_000
"""Parameters that ZeRO 3 gathers and does not give back at once: DeepSpeed's stage3_max_live_parameters."""


def block_workspace(job: Job, kept: Storing) -> float:
    """A block in its backward pass: what is computed again of it, and gradients of its widest operator."""
    run, parallel = job.run, job.run.parallel
    gradients = _widest(job, kept)
    if parallel.recompute == "none":
        return gradients
    shape = run.batch.micro_batch_size, run.sequence_length, 0, kept
    again = block_bytes(run.model, parallel.model_copy(update={"recompute": "none"}), *shape)
    if parallel.recompute == "selective":
        again -= block_bytes(run.model, parallel, *shape)
    return again + gradients


def _widest(job: Job, kept: Storing) -> float:
    """Gradients of the MLP's inner numbers or of scores, before and after the operator."""
    model, tensor = job.run.model, job.run.parallel.tensor
    inner = (3 if model.activation == "swiglu" else 2) * inner_width(model) / tensor + 2 * model.d_model
    if not is_written_out(model, kept):
        return job.tokens * inner * kept.number
    score = kept.number if job.practice.attention == "fused" else kept.number + kept.softmax
    return job.tokens * max(inner * kept.number, job.run.sequence_length * model.heads / tensor * score)


def head_workspace(job: Job, kept: Storing) -> float:
    """The loss. Ours: logits of a chunk in fp32 and rounded; the weight's gradient, scaled in fp32 and rounded."""
    model, tensor, keeps = job.run.model, job.run.parallel.tensor, job.practice.keeps
    if keeps.logit:
        columns = model.padded_vocabulary / (1 if keeps.gathers_logits else tensor)
        return job.tokens * columns * keeps.logit
    weight = model.padded_vocabulary / tensor * model.d_model
    columns = model.padded_vocabulary / tensor
    chunk = min(job.tokens, tokens_at_once(columns, job.device)) * columns * 4
    return chunk * (1 + kept.number / 4) + weight * (4 + kept.number)


def sent_bytes(job: Job) -> float:
    """A hidden state that a stage sent: it is there until its gradient comes (pipe_buffers of DeepSpeed's engine)."""
    split = job.layout.tensor if job.run.parallel.splits_sequence else 1
    return job.tokens / split * job.run.model.d_model * number_bytes(job.run)


def exchange_buffers(job: Job, parts: Parts) -> float:
    """Over the data axis; with ZeRO 3 also parameters that are gathered."""
    run, kept = job.run, job.practice.keeps.bucket
    if job.layout.data == 1 and run.parallel.zero < 3:
        return 0.0
    if kept is not None:
        return min(kept, 4.0 * parts.total)
    width, zero = number_bytes(run), run.parallel.zero
    if zero == 0 or (zero == 1 and run.precision.compute == "bf16"):
        # End to end until a tensor, at worst the embedding, exceeds the limit. BF16_Optimizer reduces fp32 sums.
        table = run.model.padded_vocabulary * run.model.d_model / run.parallel.tensor
        return min(FLAT + table, parts.total) * (4 if zero else width)
    sizes = (merge(tuned(run), run.deepspeed) if run.deepspeed else tuned(run))["zero_optimization"]
    elements: float = sizes["reduce_bucket_size"] * (2 if sizes["overlap_comm"] else 1)
    if zero == 3:
        elements += min(LIVE + sizes["stage3_prefetch_bucket_size"], parts.total)
    return elements * width
