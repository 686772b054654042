"""Jobs of shipped runs on A100s with 80 GB."""

from __future__ import annotations

from typing import Any

from pretrain.config.hardware import Hardware
from pretrain.config.layout import layout_of
from pretrain.config.load import load_hardware, load_run
from pretrain.planning.job import Job, Practice


def job(name: str, gpus: int, virtual: int = 1, **parallel: Any) -> Job:
    """The run `name` at its full batch on `gpus` GPUs, with these fields of `parallel`."""
    changes = [f"parallel.{field}={value}" for field, value in parallel.items()]
    run = load_run(name, ["model.vocab_size=50257", "batch.ramp=null", *changes])
    return Job(run, layout_of(run.parallel, gpus), a100(), practice=Practice(virtual=virtual))


def a100() -> Hardware:
    """configs/clusters/a100-80gb.yaml."""
    return Hardware.parse(load_hardware("a100-80gb"))
