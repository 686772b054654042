"""A machine and a run that plan quickly."""

from __future__ import annotations

from typing import Any

from pretrain.config.hardware import Hardware
from pretrain.config.load import load_run
from pretrain.planning.layouts.candidates import Space

A100: dict[str, Any] = {
    "gpu": "test", "tflops": 312, "fp32_tflops": 19.5, "memory": "80 GB", "memory_bandwidth": 2000,
    "multiprocessors": 108, "link_bandwidth": 300, "network_bandwidth": 25, "watts": 500, "dollars_per_hour": 2,
}  # fmt: skip


def hardware(**changes: Any) -> Hardware:
    """A GPU of round figures."""
    return Hardware.parse({**A100, **changes})


def space(model: str, processes: int, *overrides: str, node_size: int = 8, free: bool = True) -> Space:
    """A model with batches of 32 samples and every layout open."""
    batch = ["batch.global_batch_size=32", "batch.micro_batch_size=1", "batch.ramp=null"]
    run = load_run("gpt3-125m", [f"model={model}", "parallel=auto", *batch, *overrides])
    return Space(run, processes, node_size, free)
