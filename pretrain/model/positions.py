"""Where a token stands in its document, and the rotary embedding of that.

Shapes: B batch, T tokens, H heads, D d_head.
"""

from __future__ import annotations

import torch
from torch import Tensor

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines, each [B or 1, 1, T, D / 2] fp32."""


def document_starts(document: Tensor) -> Tensor:
    """Index at which the document of each token starts: [B, T] ids -> [B, T] int64.

    A document starts wherever the id differs from the one before, so ids may be reused further on.
    """
    index = torch.arange(document.shape[1], device=document.device)
    opens = torch.zeros_like(document, dtype=torch.bool)
    opens[:, 1:] = document[:, 1:] != document[:, :-1]
    return torch.where(opens, index, 0).cummax(dim=1).values


def rotary_of(positions: Tensor, d_head: int, theta: float) -> Rotary:
    """Angles position x theta^(-2i / D), i < D / 2 (Su et al. 2021): [B or 1, T] -> Rotary.

    Computed in fp32 and never stored in the module: bf16 cannot tell position 2047 from 2048.
    """
    even = torch.arange(0, d_head, 2, dtype=torch.float32, device=positions.device)
    angles = positions[:, None, :, None].float() * (1.0 / theta ** (even / d_head))  # [B, 1, T, D / 2]
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Turn pair (i, i + D / 2) of [B, H, T, D] by its angle: LLaMA's layout in Hugging Face checkpoints."""
    cos, sin = rotary
    left, right = x.chunk(2, dim=-1)  # [B, H, T, D / 2] each; the products are fp32, as the cosines are
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1).to(x.dtype)
