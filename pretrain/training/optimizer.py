"""The optimizer of a run: its algorithm over groups of parameters, of which some decay and some do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pretrain.config.moments import GROUPS, Group, group_of
from pretrain.config.optimizer import Optimizer
from pretrain.config.own import OPTIMIZER
from pretrain.config.run import Run
from pretrain.parallel.mesh import Axis
from pretrain.parallel.muon import Muon, matrices_of

Named = dict[str, nn.Parameter]
Groups = list[dict[str, Any]]


def make_optimizer(model: nn.Module, run: Run, tensor: Axis = Axis()) -> torch.optim.Optimizer:
    """The optimizer of this rank's part of the model, before an engine takes both.

    Its groups are those of config.moments that have parameters, each with its name under `kind`. A group's learning
    rate is `ratio` times the schedule's.
    """
    config, named = run.optimizer, dict(model.named_parameters())
    beside = (config.adamw_learning_rate or config.learning_rate) / config.learning_rate
    ratios = {"orthogonal": 1.0, "hidden": beside / run.model.width_ratio}
    groups: Groups = []
    for kind in GROUPS:
        mine = [p for name, p in named.items() if _group(run, name, p) == kind]
        ratio = ratios.get(kind, beside)
        # a step decays by learning rate x decay: with muP as much of a wide matrix as of a narrow one
        decay = 0.0 if kind == "vector" else config.weight_decay * (run.model.width_ratio if kind == "hidden" else 1)
        if mine:
            groups.append({"params": mine, "kind": kind, "weight_decay": decay, "ratio": ratio})
    return ALGORITHMS[config.name](groups, named, run, tensor)


def _group(run: Run, name: str, parameter: nn.Parameter) -> Group:
    return group_of(run.optimizer.name, name, _dims(parameter), run.model.mup is not None)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` in the next step, in every group as much of it as the group has."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["ratio"]


def _dims(parameter: nn.Parameter) -> int:
    """Of the whole parameter: ZeRO 3 leaves it empty and remembers its shape."""
    return len(getattr(parameter, "ds_shape", parameter.shape))


def adamw(groups: Groups, named: Named, run: Run, tensor: Axis) -> torch.optim.Optimizer:
    """torch's fused kernel: a fifth of the loop's CPU time or less (docs/optimizers.md)."""
    return torch.optim.AdamW(groups, **_adam(run.optimizer))


def muon(groups: Groups, named: Named, run: Run, tensor: Axis) -> torch.optim.Optimizer:
    """Muon and AdamW in one: an engine takes one optimizer."""
    config = run.optimizer
    settings = {name: getattr(config, name) for name in ("momentum", "nesterov", "ns_steps", "adjust_lr")}
    for group in groups:
        if group["kind"] == "orthogonal":
            group.update(settings)
    dtype = torch.float32 if run.precision.compute == "fp32" else torch.bfloat16
    return Muon(groups, matrices_of(named, run.model, tensor), tensor, dtype, **_adam(config))


def adafactor(groups: Groups, named: Named, run: Run, tensor: Axis) -> torch.optim.Optimizer:
    """Rows and columns of the second moment instead of all of it."""
    config = run.optimizer
    return torch.optim.Adafactor(
        groups, lr=config.learning_rate, beta2_decay=config.beta2_decay, d=config.clip_threshold
    )


def own(groups: Groups, named: Named, run: Run, tensor: Axis) -> torch.optim.Optimizer:
    """A class of somebody's own, called as every torch.optim.Optimizer is."""
    config = run.optimizer
    assert config.own is not None
    made: torch.optim.Optimizer = config.own.make("optimizer", OPTIMIZER, groups, lr=config.learning_rate)
    return made


def _adam(config: Optimizer) -> dict[str, Any]:
    return {"lr": config.learning_rate, "betas": config.betas, "eps": config.epsilon, "fused": True}


ALGORITHMS: dict[str, Callable[[Groups, Named, Run, Axis], torch.optim.Optimizer]] = {
    "adamw": adamw,
    "muon": muon,
    "adafactor": adafactor,
    "own": own,
}
"""By optimizer.name."""
