"""How long this rank computes: the time of its forward passes, in which it waits for no other data rank or stage."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn


class ComputeTimer:
    """Sums the seconds of `module`'s forward passes, without making a GPU wait: there events are read later.

    Tensor ranks wait for each other inside a forward pass, so a slow one makes its whole group slow; with ZeRO 3 all
    data ranks do, and no slow one is seen.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._on_gpu, self._seconds, self._started = device.type == "cuda", 0.0, 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._hooks = [module.register_forward_pre_hook(self._before), module.register_forward_hook(self._after)]

    def close(self) -> None:
        """Time no more."""
        for hook in self._hooks:
            hook.remove()

    def take(self) -> float:
        """Seconds since the last call."""
        for first, last in self._events:
            last.synchronize()
            self._seconds += first.elapsed_time(last) / 1e3
        seconds, self._seconds, self._events = self._seconds, 0.0, []
        return seconds

    def _before(self, module: nn.Module, arguments: Any) -> None:
        if self._on_gpu:
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            first.record()
            self._events.append((first, last))
        else:
            self._started = time.perf_counter()

    def _after(self, module: nn.Module, arguments: Any, output: Any) -> None:
        if self._on_gpu:
            self._events[-1][1].record()
        else:
            self._seconds += time.perf_counter() - self._started
