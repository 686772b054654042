"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal, whatever part of them a rank holds.

An orthogonalisation needs the whole matrix. What of it lies on other ranks is summed into it from their parts (Liu et
al. 2025, section 2.3, algorithm 1): over the data axis where ZeRO 1 or 2 cuts through the matrix, over the tensor axis
where that cuts the layer. Each rank keeps of the result what it holds. So the update does not depend on the layout, and
gradients are reduced, measured and clipped as with any other algorithm.

Queries, keys and values lie in one parameter and are made orthogonal each for itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pretrain.config.model import Model
from pretrain.config.moments import group_of
from pretrain.model.transformer import Transformer
from pretrain.parallel.cuts import Cut, cut_of, stacked
from pretrain.parallel.mesh import Axis

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic: steepest at 0, and singular values end between 0.7 and 1.2 (Jordan et al. 2024)."""


class Matrix(NamedTuple):
    """A parameter that holds one matrix, or several one below the other."""

    parameter: nn.Parameter
    """This tensor rank's part."""
    shape: tuple[int, ...]
    """Of the whole."""
    cut: Cut | None
    """Which part of it this rank has; None: all."""
    rows: tuple[slice, ...]
    """Of each matrix."""


class Here(NamedTuple):
    """Where a part of a parameter lies in a tensor that the optimizer was given: flat ranges of equal length."""

    tensor: Tensor
    there: slice
    """In that tensor."""
    here: slice
    """In the parameter."""


def matrices_of(named: Mapping[str, nn.Parameter], model: Model, tensor: Axis) -> list[Matrix]:
    """Those that Muon updates, in the order of the model, which all ranks of a pipeline stage share."""
    with torch.device("meta"):
        shapes = {name: tuple(parameter.shape) for name, parameter in Transformer(model).named_parameters()}
    return [
        Matrix(
            parameter,
            shape := shapes[name],
            cut_of(model, name, shape, tensor.rank, tensor.size),
            stacked(model, name, shape),
        )
        for name, parameter in named.items()
        if group_of("muon", name, parameter.ndim) == "orthogonal"
    ]


class Muon(torch.optim.AdamW):
    """Muon for groups that have a `momentum`, AdamW for the others.

    ZeRO 1 and 2 put one flat tensor with this rank's range in the place of a group's parameters; the parameters know
    where they lie in it.
    """

    def __init__(
        self, groups: list[dict[str, Any]], matrices: list[Matrix], tensor: Axis, dtype: torch.dtype, **adamw: Any
    ) -> None:
        """`dtype`: in which matrices are made orthogonal. `adamw`: AdamW's own arguments."""
        super().__init__(groups, **adamw)
        self._matrices, self._tensor, self._dtype = matrices, tensor, dtype
        self._is_split: list[bool] | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Without AdamW's own, which looks for a count of steps in every state."""
        torch.optim.Optimizer.__setstate__(self, state)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update. All ranks of a pipeline stage call it together."""
        groups = self.param_groups
        for group in groups:
            if "momentum" in group:
                self._orthogonal(group)
        try:
            self.param_groups = [group for group in groups if "momentum" not in group]
            if self.param_groups:
                super().step()
        finally:
            self.param_groups = groups

    def _orthogonal(self, group: dict[str, Any]) -> None:
        directions = {id(tensor): self._direction(tensor, group) for tensor in group["params"]}
        self._is_split = self._is_split or self._find_split(group)
        for matrix, is_split in zip(self._matrices, self._is_split, strict=True):
            place = _place(matrix.parameter, group)
            if not place and not is_split:
                continue
            part = torch.zeros_like(matrix.parameter, dtype=torch.float32)
            if place:
                part.view(-1)[place.here] = directions[id(place.tensor)].view(-1)[place.there]
            if is_split:
                dist.all_reduce(part, group=matrix.parameter._dp_group)  # type: ignore[attr-defined]
            if place:  # on all tensor ranks alike: their parts are equally large
                step = self._whole_step(matrix, part, group).view(-1)[place.here]
                place.tensor.view(-1)[place.there].add_(step, alpha=-group["lr"])

    def _direction(self, tensor: Tensor, group: dict[str, Any]) -> Tensor:
        """Momentum, which is elementwise, and decay."""
        assert tensor.grad is not None
        state = self.state[tensor]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(tensor)
        mean: Tensor = state["momentum_buffer"].lerp_(tensor.grad, 1 - group["momentum"])
        tensor.mul_(1 - group["lr"] * group["weight_decay"])
        return tensor.grad.lerp(mean, group["momentum"]) if group["nesterov"] else mean

    def _whole_step(self, matrix: Matrix, part: Tensor, group: dict[str, Any]) -> Tensor:
        """This tensor rank's part of the step that the whole matrix makes at learning rate 1."""
        whole = part
        if matrix.cut:
            whole = torch.zeros(matrix.shape, device=part.device)
            matrix.cut.put(part, whole)
            dist.all_reduce(whole, group=self._tensor.group)
        steps = []
        for rows in matrix.rows:
            step = orthogonalize(whole[rows], group["ns_steps"], self._dtype)
            steps.append(step.float() * scale(group["adjust_lr"], *step.shape))
        step = torch.cat(steps)
        return matrix.cut.of(step) if matrix.cut else step

    def _find_split(self, group: dict[str, Any]) -> list[bool]:
        """For each matrix, whether several data ranks hold parts of it."""
        first = self._matrices[0].parameter
        if not hasattr(first, "_hp_mapping"):
            return [False] * len(self._matrices)
        held = [float(_place(matrix.parameter, group) is not None) for matrix in self._matrices]
        holders = torch.tensor(held, device=first.device)
        dist.all_reduce(holders, group=first._dp_group)  # type: ignore[attr-defined]
        return [count > 1 for count in holders.tolist()]


def _place(parameter: nn.Parameter, group: dict[str, Any]) -> Here | None:
    """Where it is updated on this rank; None where ZeRO gave it to other data ranks."""
    if not hasattr(parameter, "_hp_mapping"):
        every = slice(0, parameter.numel())
        return Here(parameter, every, every)
    if (mapping := parameter._hp_mapping) is None:
        return None
    (flat,) = group["params"]
    here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
    return Here(flat, *(slice(at.start, at.start + at.numel) for at in (there, here)))


def orthogonalize(matrix: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """U V^T of the singular value decomposition U S V^T, about: Newton-Schulz steps towards it, in `dtype`.

    As torch.optim.Muon, which knows only bf16: with fp32 weights another layout's rounding would grow in it.
    """
    a, b, c = COEFFICIENTS
    is_tall = matrix.size(0) > matrix.size(1)
    x = (matrix.mT if is_tall else matrix).to(dtype)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


def scale(adjust: str, rows: int, columns: int) -> float:
    """By what the step of an orthogonal matrix is multiplied (optimizer.adjust_lr)."""
    return 0.2 * math.sqrt(max(rows, columns)) if adjust == "match_rms_adamw" else math.sqrt(max(1, rows / columns))
