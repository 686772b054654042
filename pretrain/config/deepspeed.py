"""DeepSpeed's JSON, derived from a run: what the YAML decides stands there, the passthrough may only add."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pretrain.config.counts import block_matrices
from pretrain.config.errors import Problem
from pretrain.config.layout import data_processes
from pretrain.config.load import merge
from pretrain.config.model import Model
from pretrain.config.parallel import Parallel
from pretrain.config.run import Run

OURS = {
    "optimizer": "optimizer in the YAML",
    "scheduler": "schedule in the YAML",
    "fp16": "precision.compute in the YAML",
    "torch_autocast": "precision.compute in the YAML",
    "wandb": "monitoring.wandb in the YAML",
    "tensorboard": "monitoring.tensorboard in the YAML",
    "csv_monitor": "nothing: metrics.jsonl is always written",
    "pipeline": "parallel in the YAML",
    "tensor_parallel": "parallel in the YAML",
    "curriculum_learning": "data.stages in the YAML",
    "data_efficiency": "data.stages in the YAML",
}
"""DeepSpeed sections that the framework decides itself, and what to write instead."""


SMALLEST_BUCKET = 2**24
"""Elements (64 MiB in fp32): a message that fills the links; a model that is smaller goes in one."""
LARGEST_BUCKET = 2**27
"""Elements (0.5 GiB in fp32): ZeRO holds one or two such buffers beside the gradients."""


def deepspeed_config(run: Run, processes: int) -> dict[str, Any]:
    """The JSON for `processes` processes in all, with the run's passthrough laid over it. Needs a settled layout."""
    return merge(merge(tuned(run), derived(run, processes)), run.deepspeed)


def derived(run: Run, processes: int) -> dict[str, Any]:
    """The part that the run decides. Sizes are those of the full batch; the ramp accumulates fewer."""
    samples = run.batch.global_batch_size.samples(run.sequence_length)
    precision = run.precision
    config: dict[str, Any] = {
        "train_batch_size": samples,
        "train_micro_batch_size_per_gpu": run.batch.micro_batch_size,
        "gradient_accumulation_steps": samples // (run.batch.micro_batch_size * data_processes(run, processes)),
        "gradient_clipping": run.optimizer.clip,
        "zero_optimization": {"stage": run.parallel.zero, **_order(run.parallel), **_offload(run.parallel)},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": precision.compute == "bf16"},
        "steps_per_print": None,
        "wall_clock_breakdown": False,
        "timers": {"throughput": {"enabled": False}},  # it waits for the device in every micro-batch
    }
    if precision.scaling:
        # A scale that DeepSpeed leaves alone: pretrain/resilience/loss_scale.py moves it between steps.
        config["fp16"] = {"enabled": True, "loss_scale": precision.scaling.initial}
    if precision.compute != "fp32":
        # Gradients of micro-batches are summed in fp32: in 16 bits the small ones would be lost.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    if run.parallel.offload != "none":
        # The optimizer is torch's AdamW: DeepSpeed's own for the CPU needs a compiler where it runs.
        config["zero_force_ds_cpu_optimizer"] = False
    if run.parallel.pipe > 1:
        # Stages send whole tensors: with tensor ranks DeepSpeed would cut and gather each again.
        config["pipeline"] = {"pipe_partitioned": False, "grad_partitioned": False}
    return config


def tuned(run: Run) -> dict[str, Any]:
    """Where only speed and memory hang on it: how much is sent at once, in elements. The passthrough may change it."""
    zero, bucket = run.parallel.zero, bucket_size(run.model, run.parallel.tensor)
    if zero == 0:
        return {}
    # Stage 1 reduces once a step, and a pipeline or the bf16 optimizer cannot overlap that. On a CPU there are no
    # streams: overlapping changes nothing there.
    sizes: dict[str, Any] = {"overlap_comm": zero > 1, "reduce_bucket_size": bucket}
    if zero < 3:
        # By default gradients are all-reduced to every rank: twice the bytes of a reduce to the one that needs them.
        sizes |= {"allgather_bucket_size": bucket, "use_multi_rank_bucket_allreduce": False}
        return {"zero_optimization": sizes}
    sizes["stage3_prefetch_bucket_size"] = bucket
    # As transformers sets it: biases and norms, which are a few d_model, stay whole on every process; matrices do not.
    sizes["stage3_param_persistence_threshold"] = 10 * run.model.d_model
    return {"zero_optimization": sizes}


def bucket_size(model: Model, tensor: int) -> int:
    """Elements of gradients reduced, or of parameters gathered, at once: the largest layer's on one tensor rank.

    So the exchange of one layer overlaps the arithmetic of its neighbour, and none is cut in two. The layer is a block,
    or the embedding once the vocabulary is known. Even, which DeepSpeed demands; from 16 Mi to 128 Mi.
    """
    table = model.padded_vocabulary * model.d_model if model.vocab_size else 0
    largest = -(-max(block_matrices(model), table) // (2 * tensor)) * 2
    return min(max(largest, SMALLEST_BUCKET), LARGEST_BUCKET)


def _order(parallel: Parallel) -> dict[str, Any]:
    """Round robin would cut parameters in an order that the saved places do not tell: another layout would mix them."""
    return {"round_robin_gradients": False} if parallel.zero in (1, 2) else {}


def _offload(parallel: Parallel) -> dict[str, Any]:
    """Memory is pinned by default on GPUs; on a CPU DeepSpeed ignores that."""
    if parallel.offload == "none":
        return {}
    optimizer = {"offload_optimizer": {"device": "cpu"}}
    return optimizer if parallel.offload == "optimizer" else {**optimizer, "offload_param": {"device": "cpu"}}


def contradictions(run: Run, processes: int) -> Iterator[Problem]:
    """What the passthrough says against the derived JSON or against sections that are the framework's own."""
    for key in run.deepspeed:
        if key in OURS:
            yield Problem(f"deepspeed.{key}", run.deepspeed[key], "is decided by the framework", f"use {OURS[key]}")
    theirs = {key: value for key, value in run.deepspeed.items() if key not in OURS}
    yield from _differences("deepspeed", derived(run, processes), theirs)


def _differences(where: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Problem]:
    for key, value in theirs.items():
        field = f"{where}.{key}"
        if key not in ours:
            continue
        if isinstance(value, Mapping) and isinstance(ours[key], Mapping):
            yield from _differences(field, ours[key], value)
        elif value != ours[key]:
            yield Problem(field, value, f"contradicts the run, which gives {ours[key]!r}", "change the run's own field")
