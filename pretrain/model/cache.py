"""Keys and values of the tokens read so far, so that each new token is computed alone.

Shapes: B batch, T new tokens, S tokens in the cache, KV key/value heads, D d_head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.config.model import Model


class Cache:
    """Room for `capacity` tokens (default: the context) of every layer.

    The forward pass appends layer by layer; `length` moves once at its end, so every layer sees the same past.
    """

    def __init__(
        self,
        config: Model,
        batch: int = 1,
        capacity: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.capacity = capacity or config.context
        self.length = 0
        shape = (config.layers, batch, config.key_heads, self.capacity, config.head_width)  # [layer, B, KV, S, D]
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new [B, KV, T, D] of a layer; gives all so far, [B, KV, S, D]."""
        end = self.length + k.shape[2]
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens, {end} were given")
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, tokens: int) -> None:
        """The forward pass of `tokens` tokens is over."""
        self.length += tokens

    def clear(self) -> None:
        """Forget everything; the memory is kept."""
        self.length = 0
