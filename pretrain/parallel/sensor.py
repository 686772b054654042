"""Which rank made a gradient that is no number: looked for before gradients are summed over ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Sensor:
    """Watches gradients of this rank as the backward pass makes them.

    Always those of vectors (norms and biases, in every layer): what is no number spreads through all layers below, and
    a vector costs nothing to look at. `everything` watches all for a while, when the vectors had nothing to tell.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], device: torch.device) -> None:
        self._parameters = list(parameters)
        self._seen = torch.zeros((), device=device)
        for parameter in self._parameters:
            if _dimensions(parameter) < 2:
                parameter.register_hook(self._look)  # type: ignore[no-untyped-call]

    def take(self) -> bool:
        """Whether one was no number since this was last asked. Waits for the device."""
        found = not bool(torch.isfinite(self._seen))
        self._seen.zero_()
        return found

    @contextmanager
    def everything(self) -> Iterator[None]:
        """Watch the matrices too."""
        matrices = [parameter for parameter in self._parameters if _dimensions(parameter) >= 2]
        hooks = [parameter.register_hook(self._look) for parameter in matrices]  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _look(self, gradient: Tensor) -> None:
        # 0 x sum: stays 0 for numbers, else it becomes NaN and stays so
        self._seen.add_(gradient.detach().sum(dtype=torch.float32).to(self._seen.device), alpha=0)


def _dimensions(parameter: nn.Parameter) -> int:
    """Of the whole parameter: ZeRO 3 leaves it empty and remembers its shape."""
    return len(getattr(parameter, "ds_shape", parameter.shape))
