"""Own MLPs that cannot be trained."""

import torch
from torch import Tensor, nn

from pretrain.config.model import Model


class Buffered(nn.Module):
    """Keeps something that is no parameter, unless told not to."""

    def __init__(self, config: Model, keep: bool = True) -> None:
        super().__init__()
        if keep:
            self.register_buffer("mean", torch.zeros(config.d_model))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden


class Forward:
    """Can be called, and has no parameters."""

    def __init__(self, config: Model) -> None: ...

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden
