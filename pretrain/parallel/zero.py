"""A model under a DeepSpeedEngine: ZeRO over the data axis (Rajbhandari et al. 2020)."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from pretrain.parallel.process import World


def make_engine(model: nn.Module, optimizer: torch.optim.Optimizer, config: dict[str, Any], world: World) -> Any:
    """The DeepSpeedEngine of `model` with `config` (DeepSpeed's JSON). All ranks call it together.

    Nothing is compiled: the optimizer is torch's own, and the shared-memory collective that DeepSpeed would build with
    ninja on a CPU is switched off.
    """
    import deepspeed
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    deepspeed.init_distributed(dist_backend=torch.distributed.get_backend(), auto_mpi_discovery=False, verbose=False)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    return engine


def gradient_norm(engine: Any) -> float | None:
    """The global norm before clipping, where DeepSpeed does not keep it (without ZeRO); call it before the step."""
    if engine.zero_optimization():
        return None
    gradients = [p.grad for p in engine.module.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))
