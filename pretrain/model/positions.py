"""Where a token stands in its document, and two ways to tell attention: rotary embedding and ALiBi.

Shapes: B batch, T tokens, H heads, D d_head, R columns of a head that are rotated (all, or the first few).
"""

from __future__ import annotations

import torch
from torch import Tensor

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines, each [B or 1, T, 1, R / 2] fp32."""


def document_starts(document: Tensor) -> Tensor:
    """Index at which the document of each token starts: [B, T] ids -> [B, T] int64.

    A document starts wherever the id differs from the one before, so ids may be reused further on.
    """
    index = torch.arange(document.shape[1], device=document.device)
    opens = torch.zeros_like(document, dtype=torch.bool)
    opens[:, 1:] = document[:, 1:] != document[:, :-1]
    return torch.where(opens, index, 0).cummax(dim=1).values


def rotary_of(positions: Tensor, width: int, theta: float) -> Rotary:
    """Angles position x theta^(-2i / R), i < R / 2, for R = `width` (Su et al. 2021): [B or 1, T] -> Rotary.

    Computed in fp32 and never stored in the module: bf16 cannot tell position 2047 from 2048.
    """
    even = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device)
    angles = positions[:, :, None, None].float() * (1.0 / theta ** (even / width))  # [B, T, 1, R / 2]
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Turn pair (i, i + R / 2) of [B, T, H, D] by its angle: LLaMA's layout in Hugging Face checkpoints."""
    cos, sin = rotary
    half = cos.shape[-1]
    left, right, rest = x.tensor_split((half, 2 * half), dim=-1)  # the products are fp32, as the cosines are
    return torch.cat((left * cos - right * sin, right * cos + left * sin, rest), dim=-1).to(x.dtype)


def alibi_slopes(heads: int) -> list[float]:
    """By head, how much a score falls for each token of distance (Press et al. 2022, section 3).

    2^(-8/n), 2^(-16/n) ... 2^-8 for n = 2^k heads. Other numbers as in the authors' code: those of the power of two
    below, then every second one of the power above, from the first on.
    """
    power = 1 << (heads.bit_length() - 1)
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    return slopes + [2 ** (-4 * (2 * head + 1) / power) for head in range(heads - power)]
