"""The state of an engine held still in the host's memory, while training goes on changing it."""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Take = Callable[[Tensor], Tensor]


def replace_tensors(value: Any, take: Take) -> Any:
    """A deep copy of plain data and small objects, with `take` of each tensor; the same tensor is taken once.

    DeepSpeed's state holds scalers, defaultdicts and addresses beside its tensors, which go on changing as well: what
    torch.save can write, pickle can copy.
    """
    tensors: list[Tensor] = []
    known: dict[object, int] = {}
    sources: list[Tensor] = []  # kept until the end: a freed tensor's address could come back

    class Pickler(pickle.Pickler):
        def persistent_id(self, found: Any) -> int | None:
            if not isinstance(found, Tensor):
                return None
            if (key := _place(found)) not in known:
                known[key] = len(tensors)
                sources.append(found)
                tensors.append(take(found.detach()).requires_grad_(found.requires_grad))
            return known[key]

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, number: int) -> Tensor:
            return tensors[number]

    file = io.BytesIO()
    Pickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
    file.seek(0)
    return Unpickler(file).load()


def _place(tensor: Tensor) -> object:
    """What two tensors must share to be one. Empty ones have no address."""
    if not tensor.numel():
        return id(tensor)
    return tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape, tensor.stride(), tensor.requires_grad


def tensor_bytes(value: Any) -> int:
    """Bytes of all tensors in `value`, each counted once."""
    found: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        found.append(tensor.nbytes)
        return torch.empty(0, dtype=tensor.dtype)

    replace_tensors(value, count)
    return sum(found)


def compact(tensor: Tensor) -> Tensor:
    """The tensor itself, or its copy where it is a part of something larger: torch.save writes whole storages."""
    return tensor if tensor.nbytes == tensor.untyped_storage().nbytes() else tensor.to("cpu", copy=True)


class HostBuffers:
    """Host memory that tensors are copied into, kept from one checkpoint to the next so that only the first allocates.

    `take` only says where a tensor is to go. `fill` copies, in whatever thread, while its sources must not change:
    training `wait`s before it updates them, not before the forward and backward passes, which only read them
    (Mohan et al. 2021, CheckFreq, section 4.1). On a GPU the buffers are pinned and a stream of its own copies.
    """

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []
        self._copies: list[tuple[Tensor, Tensor]] = []
        self._stream: torch.cuda.Stream | None = None
        self._held = threading.Event()
        self._held.set()

    def start(self) -> None:
        """From here on the buffers are filled again, in the same order."""
        self._copies = []
        self._held.clear()
        if torch.cuda.is_available():
            self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream())  # the last update must have been made

    def take(self, tensor: Tensor) -> Tensor:
        """The buffer that will hold a copy of `tensor`."""
        at = len(self._copies)
        if at == len(self._buffers):
            self._buffers.append(_like(tensor))
        elif self._buffers[at].shape != tensor.shape or self._buffers[at].dtype != tensor.dtype:
            self._buffers[at] = _like(tensor)
        self._copies.append((self._buffers[at], tensor))
        return self._buffers[at].detach()

    def fill(self) -> None:
        """Copy what was taken."""
        try:
            with torch.cuda.stream(self._stream):  # threads do not inherit their maker's device: the stream has it
                for buffer, tensor in self._copies:
                    buffer.copy_(tensor, non_blocking=tensor.is_cuda)
            if self._stream:
                self._stream.synchronize()
        finally:
            self._copies = []
            self._held.set()

    def wait(self) -> None:
        """Until the tensors that were taken may change."""
        self._held.wait()

    def bytes(self) -> int:
        """Memory that is held."""
        return sum(buffer.nbytes for buffer in self._buffers)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
