"""A checkpoint of one layout read into an engine of another: every rank takes its own parts out of the saved files.

Nothing is converted on disk beforehand. Any ZeRO stage, tensor, pipe and data size, schedule and number format of the
engine can read any other's checkpoint, since both speak of fp32 master weights and moments by canonical name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.checkpoint.saved import Kind, Saved
from pretrain.config.moments import moments_of
from pretrain.parallel.mesh import Mesh


def reshard(engine: Any, saved: Saved, mesh: Mesh, step: int) -> None:
    """Fill weights and optimizer state of `engine`, after `step` steps, from a checkpoint of any layout."""
    target = _target(engine, mesh.at.data, saved.algorithm)
    target.start(step)
    with torch.no_grad():
        for name, parameter in engine.module.named_parameters():
            for kind in saved.kinds(name):
                target.put(parameter, kind, saved.part(name, kind, mesh.tensor.rank, mesh.tensor.size))


def begin(engine: Any, part: Callable[[str, int, int], Tensor], mesh: Mesh) -> None:
    """Fill the weights of a fresh engine: `part(name, rank, size)` is what a tensor rank holds of a parameter, fp32."""
    target = _target(engine, mesh.at.data, "")
    with torch.no_grad():
        for name, parameter in engine.module.named_parameters():
            target.put(parameter, "weight", part(name, mesh.tensor.rank, mesh.tensor.size))


def _target(engine: Any, data_rank: int, algorithm: str) -> Target:
    stage = engine.zero_optimization_stage()
    if stage == 0:
        return Target(engine.optimizer, algorithm)
    if stage == 3:
        return PartitionedWeights(engine.optimizer, algorithm, data_rank)
    return PartitionedOptimizer(engine.optimizer.optimizer, algorithm)


class Target:
    """ZeRO 0: torch's optimizer itself, with whole parameters. The others differ in where the values lie."""

    def __init__(self, optimizer: torch.optim.Optimizer, algorithm: str) -> None:
        self.optimizer, self.algorithm = optimizer, algorithm

    def start(self, step: int) -> None:
        """Make room for the moments, to be filled, as after `step` steps."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                self._start(parameter, group, step)

    def put(self, parameter: nn.Parameter, kind: Kind, value: Tensor) -> None:
        """Set the weight or a moment of a parameter from this tensor rank's part of it."""
        (parameter if kind == "weight" else self.optimizer.state[parameter][kind]).copy_(value)

    def _start(self, parameter: nn.Parameter, group: dict[str, Any], step: int) -> None:
        """The state as after `step` steps, the moments still to be filled. `parameter` may be flat and of many."""
        moments = moments_of(self.algorithm, group["kind"], tuple(parameter.shape))
        state = {kind: torch.zeros(shape, device=parameter.device) for kind, shape in moments.items()}
        if group["kind"] != "orthogonal":  # Muon does not count
            state["step"] = torch.tensor(float(step), device=parameter.device if group.get("fused") else "cpu")
        self.optimizer.state[parameter] = state


class PartitionedOptimizer(Target):
    """ZeRO 1 and 2: this data rank's range of each group's flat fp32 tensor, which is the group's only parameter."""

    def put(self, parameter: nn.Parameter, kind: Kind, value: Tensor) -> None:
        if kind == "weight":
            parameter.copy_(value)
        mapping = parameter._hp_mapping  # type: ignore[attr-defined]
        if mapping is None:
            return  # all of it belongs to other data ranks
        (flat,) = self.optimizer.param_groups[mapping.param_group_index]["params"]
        here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
        state = flat if kind == "weight" else self.optimizer.state[flat][kind]
        state[there.start : there.start + there.numel] = value.flatten()[here.start : here.start + here.numel]


class PartitionedWeights(Target):
    """ZeRO 3: this data rank's piece of every parameter, the last one padded."""

    def __init__(self, optimizer: Any, algorithm: str, rank: int) -> None:
        self._zero, self.optimizer, self.algorithm, self.rank = optimizer, optimizer.optimizer, algorithm, rank

    def start(self, step: int) -> None:
        """As the others, of each piece of a group."""
        for index, flat in enumerate(self._zero.fp32_partitioned_groups_flat):
            group = self.optimizer.param_groups[self._zero.sub_group_to_group_id[index]]
            self._start(flat, group, step)

    def put(self, parameter: nn.Parameter, kind: Kind, value: Tensor) -> None:
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        held = parameter.ds_tensor  # type: ignore[attr-defined]
        piece = torch.zeros(held.numel())
        mine = value.flatten()[self.rank * held.numel() : (self.rank + 1) * held.numel()]
        piece[: mine.numel()] = mine
        if kind == "weight":
            held.copy_(piece.to(held.dtype).view(held.shape))
            safe_set_local_fp32_param(parameter, piece)
        else:
            safe_set_local_optimizer_state(parameter, piece, kind)
