"""Matrix products that really run, forward and backward, whoever calls them.

Counted as in papers: 2 per multiply-add. Attention kernels are counted by what they compute, not by how: of B x H x T
queries, S keys and width D 4 x B x H x T x S x D forward and 8 backward, the whole square. Inside, a causal flash
kernel skips the half above the diagonal and computes the scores again in the backward pass: 2 + 5 instead of 4 + 8.
Everything else (norms, activations, softmax, rotations, the optimizer) is not counted, as no formula counts it.
"""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class count_flops(TorchDispatchMode):  # type: ignore[no-untyped-call]  # noqa: N801  called like torch.no_grad
    """Add up the floating-point operations of this thread by kind of product."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """All of them."""
        return self.flops.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count products, then let everything through."""
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__.rstrip("_") if func.namespace == "aten" else ""
        if name in ("mm", "addmm", "bmm", "baddbmm"):
            left, right = args[-2:]
            self.flops[name] += 2 * prod(left.shape) * right.shape[-1]
        elif name.startswith("_scaled_dot_product") and not name.endswith("math"):
            is_backward = name.endswith("backward")
            q, k = args[is_backward : is_backward + 2]
            self.flops["attention"] += (8 if is_backward else 4) * prod(q.shape) * k.shape[-2]
        return out
