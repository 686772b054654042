"""DeepSpeed's JSON, derived from a run: what the YAML decides stands there, the passthrough may only add."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pretrain.config.errors import Problem
from pretrain.config.load import merge
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


def deepspeed_config(run: Run, processes: int) -> dict[str, Any]:
    """The JSON for `processes` data-parallel processes, with the run's passthrough laid over it."""
    return merge(derived(run, processes), run.deepspeed)


def derived(run: Run, processes: int) -> dict[str, Any]:
    """The part that follows from the run. Sizes are those of the full batch; the ramp accumulates fewer."""
    samples = run.batch.global_batch_size.samples(run.sequence_length)
    bf16 = run.precision.compute == "bf16"
    config: dict[str, Any] = {
        "train_batch_size": samples,
        "train_micro_batch_size_per_gpu": run.batch.micro_batch_size,
        "gradient_accumulation_steps": samples // (run.batch.micro_batch_size * processes),
        "gradient_clipping": run.optimizer.clip,
        "zero_optimization": {"stage": run.parallel.zero},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": bf16},
        "steps_per_print": None,
        "wall_clock_breakdown": False,
    }
    if bf16:
        # Gradients of micro-batches are summed in fp32: in bf16 the small ones would be lost.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return config


def contradictions(run: Run, processes: int) -> Iterator[Problem]:
    """What the passthrough says against the derived JSON or against sections that are the framework's own."""
    for key in run.deepspeed:
        if key in OURS:
            yield Problem(f"deepspeed.{key}", run.deepspeed[key], "is decided by the framework", f"use {OURS[key]}")
    yield from _differences("deepspeed", derived(run, processes), run.deepspeed)


def _differences(where: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Problem]:
    for key, value in theirs.items():
        field = f"{where}.{key}"
        if key not in ours:
            continue
        if isinstance(value, Mapping) and isinstance(ours[key], Mapping):
            yield from _differences(field, ours[key], value)
        elif value != ours[key]:
            yield Problem(field, value, f"contradicts the run, which gives {ours[key]!r}", "change the run's own field")
