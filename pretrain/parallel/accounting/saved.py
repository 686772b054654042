"""Activations that autograd keeps for the backward pass: each distinct storage once, parameters not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Saved:
    """Bytes that are kept now, and the most so far. A tensor counts until autograd lets go of it."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._holders: Counter[int] = Counter()

    @property
    def storages(self) -> set[int]:
        """Addresses of what is kept now."""
        return {pointer for pointer, holders in self._holders.items() if holders}

    def keep(self, tensor: Tensor) -> _Kept:
        """Count the storage of `tensor` until the result is deleted."""
        storage = tensor.untyped_storage()
        pointer, size = storage.data_ptr(), storage.nbytes()
        self._holders[pointer] += 1
        if self._holders[pointer] == 1:
            self.now += size
            self.peak = max(self.peak, self.now)
        return _Kept(tensor, self, pointer, size)

    def drop(self, pointer: int, size: int) -> None:
        """One holder less."""
        self._holders[pointer] -= 1
        if not self._holders[pointer]:
            self.now -= size


class _Kept:
    """A saved tensor; autograd deletes it with the graph."""

    def __init__(self, tensor: Tensor, saved: Saved, pointer: int, size: int) -> None:
        self.tensor, self._saved, self._pointer, self._size = tensor, saved, pointer, size

    def __del__(self) -> None:
        self._saved.drop(self._pointer, self._size)


@contextmanager
def count_saved() -> Iterator[Saved]:
    """Count what forward passes inside keep. What a block that is recomputed keeps for itself does not count."""
    saved = Saved()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: _pack(saved, tensor), _unpack):
        yield saved


def _pack(saved: Saved, tensor: Tensor) -> Any:
    if isinstance(tensor if tensor._base is None else tensor._base, nn.Parameter) or not tensor.numel():
        return tensor
    return saved.keep(tensor)


def _unpack(kept: Any) -> Tensor:
    return kept.tensor if isinstance(kept, _Kept) else kept
