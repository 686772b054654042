"""Every message between ranks while `count_payload()` is on, whoever sends it.

The count is taken where torch.distributed hands a call to its backend, below our code and DeepSpeed's alike. What is
counted is logical: the bytes that a rank sends under the best algorithm for the collective, not those of a cable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pretrain.config.layout import Layout

Op = Literal["all_reduce", "all_gather", "reduce_scatter", "reduce", "broadcast", "send"]
CONTROL_ELEMENTS = 64
"""Up to this many numbers a message is a norm, a vote or a shape; so is every message of integers."""


class Message(NamedTuple):
    """One call on this rank."""

    op: Op
    axes: str
    """Along which axes of the grid its ranks lie: data, tensor, pipe, or several joined by +."""
    ranks: int
    """In the group; 2 for a send."""
    bytes: int
    """Of the whole tensor: of a gather its result, of a reduce-scatter its input."""
    sent: int
    """Bytes that this rank has to send (`sent_bytes`)."""
    control: bool
    """A norm, a vote, a shape: not part of the model's own numbers."""


def sent_bytes(op: Op, size: int, ranks: int, is_root: bool = False) -> int:
    """Bytes that one rank of `ranks` sends of a tensor of `size` bytes under a bandwidth-optimal algorithm.

    All-gather and reduce-scatter (n - 1) / n of it, all-reduce both (Rabenseifner 2004; Rajbhandari et al. 2020,
    section 7.1). A reduce goes along a chain that ends, a broadcast along one that starts at the root.
    """
    if op in ("all_gather", "reduce_scatter"):
        return size * (ranks - 1) // ranks
    if op == "all_reduce":
        return 2 * size * (ranks - 1) // ranks
    if op == "reduce":
        return 0 if is_root else size
    if op == "broadcast":  # all but the last of the chain pass it on: on average
        return size * (ranks - 1) // ranks
    return size


class count_payload(TorchDispatchMode):  # type: ignore[no-untyped-call]  # noqa: N801  called like torch.no_grad
    """Collect the Messages of this rank in `messages`."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layout = layout
        self.messages: list[Message] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note calls of c10d, then let everything through."""
        if func.namespace == "c10d":
            self._note(func._schema.name.removeprefix("c10d::"), args)
        return func(*args, **(kwargs or {}))

    def _note(self, name: str, args: Any) -> None:
        if name not in _WHOLE:
            return
        op, tensors = _WHOLE[name][0], list(_flat(args[_WHOLE[name][1]]))
        group = dist.ProcessGroup.unbox(next(arg for arg in args if isinstance(arg, torch.ScriptObject)))
        members = dist.get_process_group_ranks(group)
        me = dist.get_rank()
        if op == "send":
            members = [me, members[args[2]]]
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        is_root = op == "reduce" and members[args[3]] == me
        sent = sent_bytes(op, size, len(members), is_root)
        self.messages.append(Message(op, axes_of(self.layout, members), len(members), size, sent, _is_control(tensors)))

    def total(self, control: bool = False) -> dict[tuple[str, str], int]:
        """Bytes sent by (axes, op), of the model's numbers or of `control` messages."""
        sums: dict[tuple[str, str], int] = {}
        for message in self.messages:
            if message.control == control and message.ranks > 1:
                key = (message.axes, message.op)
                sums[key] = sums.get(key, 0) + message.sent
        return sums


_WHOLE: dict[str, tuple[Op, int]] = {
    "allreduce_": ("all_reduce", 0),
    "allreduce_coalesced_": ("all_reduce", 0),
    "_allgather_base_": ("all_gather", 0),
    "allgather_": ("all_gather", 0),
    "allgather_into_tensor_coalesced_": ("all_gather", 0),
    "_reduce_scatter_base_": ("reduce_scatter", 1),
    "reduce_scatter_": ("reduce_scatter", 1),
    "reduce_scatter_tensor_coalesced_": ("reduce_scatter", 1),
    "reduce_": ("reduce", 0),
    "broadcast_": ("broadcast", 0),
    "send": ("send", 0),
}
"""By c10d's name: what it does, and the argument that is the whole tensor. A receive is its sender's send."""


def axes_of(layout: Layout, members: Iterable[int]) -> str:
    """The axes on which these ranks differ, joined by +."""
    places = [layout.coordinate(rank) for rank in members]
    return "+".join(axis for axis in ("pipe", "data", "tensor") if len({getattr(place, axis) for place in places}) > 1)


def _is_control(tensors: list[Tensor]) -> bool:
    return all(tensor.numel() <= CONTROL_ELEMENTS or not tensor.is_floating_point() for tensor in tensors)


def _flat(given: Any) -> Iterable[Tensor]:
    """The tensors in a tensor or in lists of them."""
    if isinstance(given, Tensor):
        yield given
        return
    for part in given:
        yield from _flat(part)
