"""A model under a DeepSpeedEngine: ZeRO over the data axis (Rajbhandari et al. 2020)."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import Any

import torch
from torch import nn

from pretrain.parallel.process import World


def make_engine(model: nn.Module, optimizer: torch.optim.Optimizer, config: dict[str, Any], world: World) -> Any:
    """The DeepSpeedEngine of `model` with `config` (DeepSpeed's JSON). All ranks call it together.

    Nothing is compiled: the optimizer is torch's own, and none of DeepSpeed's ops is said to be buildable. Else it
    would try a compiler on each, and build a shared-memory collective with ninja when it starts on a CPU.
    """
    import deepspeed
    import deepspeed.ops
    from deepspeed.git_version_info import installed_ops

    vars(deepspeed.ops)["__compatible_ops__"] = dict.fromkeys(installed_ops, False)
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    deepspeed.init_distributed(dist_backend=torch.distributed.get_backend(), auto_mpi_discovery=False, verbose=False)
    with contextlib.redirect_stdout(io.StringIO()):  # its bf16 optimizer prints memory tables
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    return engine


def gradient_norm(engine: Any) -> float | None:
    """The global norm before clipping, where DeepSpeed does not keep it (without ZeRO); call it before the step."""
    if engine.zero_optimization():
        return None
    gradients = [p.grad for p in engine.module.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))
