"""Bytes that a rank holds for the model's state: parameters, gradients, optimizer state, DeepSpeed's buffers.

Each storage counts once, and for the first of these that has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

GRADIENTS = ("all_grad_tensors", "averaged_gradients", "fp32_groups_gradients_flat", "grad_partitions_flat_buffer")
"""Where DeepSpeed's optimizers keep gradients that are summed over micro-batches (stages 1 and 2, bf16, stage 3)."""


class Held(NamedTuple):
    """In bytes."""

    parameters: int
    """As the forward pass uses them."""
    gradients: int
    optimizer: int
    """fp32 master parameters and both moments."""
    buffers: int
    """In which DeepSpeed gathers gradients to be reduced."""


def bytes_held(engine: Any) -> Held:
    """What the rank of a DeepSpeed engine holds now. Gradients are there between a backward pass and the update."""
    seen: set[int] = set()
    return Held(*(_new_bytes(_tensors(part), seen) for part in _parts(engine)))


def _parts(engine: Any) -> Iterator[Any]:
    parameters, optimizer = list(engine.module.parameters()), engine.optimizer
    yield [getattr(p, "ds_tensor", None) for p in parameters], [p.data for p in parameters]
    buckets = _buckets(optimizer)
    shared = {tensor.untyped_storage().data_ptr() for tensor in _tensors(buckets)}
    kept = [_gradients(parameter) for parameter in parameters], [getattr(optimizer, name, None) for name in GRADIENTS]
    yield [tensor for tensor in _tensors(kept) if tensor.untyped_storage().data_ptr() not in shared]
    inner = getattr(optimizer, "optimizer", optimizer)
    master = getattr(optimizer, "fp32_partitioned_groups_flat", None) if inner is not optimizer else None
    yield master, [group["params"] for group in inner.param_groups], list(inner.state), list(inner.state.values())
    yield buckets


def _gradients(parameter: Any) -> list[Any]:
    return [parameter.grad, getattr(parameter, "grad_accum", None)]


def _buckets(optimizer: Any) -> list[Any]:
    """The contiguous buffers of stages 1 and 2, and that of stage 3."""
    buckets = getattr(optimizer, "ipg_buckets", {}).values()
    return [getattr(bucket, "buffer", None) for bucket in buckets]


def _new_bytes(tensors: Iterable[Tensor], seen: set[int]) -> int:
    """Bytes of the storages that were not seen before."""
    total = 0
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
    return total


def _tensors(given: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and mappings; other things are passed over."""
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, Mapping):
        yield from _tensors(list(given.values()))
    elif isinstance(given, list | tuple):
        for part in given:
            yield from _tensors(part)
