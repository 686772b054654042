"""Sums and maxima of named numbers over all ranks: each adds what it has, one exchange for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.parallel.mesh import Mesh


class Tally:
    """Every rank knows all names, and adds to those whose numbers it sees."""

    def __init__(self, names: Sequence[str], mesh: Mesh) -> None:
        self._places, self._mesh = {name: place for place, name in enumerate(names)}, mesh
        self._sums = torch.zeros(len(names), dtype=torch.float64, device=mesh.world.device)
        self._largest = torch.full_like(self._sums, -torch.inf)

    def add(self, name: str, value: Tensor | float) -> None:
        """Add to a sum."""
        self._sums[self._places[name]] += value

    def raise_to(self, name: str, value: Tensor) -> None:
        """Keep the larger."""
        place = self._places[name]
        self._largest[place] = torch.maximum(self._largest[place], value.to(self._largest))

    def total(self) -> dict[str, float]:
        """Of all ranks: the sum or the maximum of every name to which somebody gave numbers. All ranks call it."""
        if self._mesh.world.size > 1:
            dist.all_reduce(self._sums)
            dist.all_reduce(self._largest, op=dist.ReduceOp.MAX)
        both = zip(self._places, self._sums.tolist(), self._largest.tolist(), strict=True)
        return {name: total if largest == -torch.inf else largest for name, total, largest in both}
