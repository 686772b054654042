"""AdamW with weight decay on matrices only."""

from __future__ import annotations

import torch
from torch import nn

from pretrain.config.optimizer import Optimizer


def make_optimizer(model: nn.Module, config: Optimizer, device: torch.device) -> torch.optim.AdamW:
    """AdamW over the parameters of `model`: those with two dimensions decay, biases and norms do not.

    The fused kernel is used on GPUs (untested here: no GPU). The learning rate is set before every step.
    """
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if _is_matrix(p)], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if not _is_matrix(p)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.epsilon,
        fused=device.type == "cuda",
    )


def _is_matrix(parameter: nn.Parameter) -> bool:
    """Of the whole parameter: ZeRO 3 leaves it empty and remembers its shape."""
    return len(getattr(parameter, "ds_shape", parameter.shape)) >= 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` in the next step, in every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
