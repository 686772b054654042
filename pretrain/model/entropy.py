"""How attention is spread: entropies and scores of a few queries, written out beside the fused kernels.

Shapes: H heads, KV key/value heads, D d_head, T queries, S keys, n chosen queries.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pretrain.model.attention import Sight, additive_mask


class Spread(NamedTuple):
    """Of the chosen queries of one sample."""

    entropy: Tensor
    """[H, n] in nats: 0 where one key has all weight, log(keys seen) where all have the same."""
    largest: Tensor
    """The largest score before the softmax."""


def spread(q: Tensor, k: Tensor, sight: Sight, queries: int) -> Spread:
    """Of q [H, T, D] and k [KV, S, D], the first sample that `sight` is about, at `queries` queries or fewer.

    They are spread evenly over the sample and end with its last one. Holds H x n x S scores in fp32.
    """
    total = q.shape[1]
    chosen = torch.arange(1, min(queries, total) + 1, device=q.device) * total // min(queries, total) - 1
    start = None if sight.start is None else sight.start[:1, chosen]
    sight = sight._replace(batch=1, own=sight.own[chosen], start=start, dtype=torch.float32)
    few = q[:, chosen].float().reshape(k.shape[0], -1, q.shape[-1])  # [KV, H / KV * n, D]
    scores = (few @ k.float().mT / math.sqrt(q.shape[-1])).view(q.shape[0], -1, k.shape[1])  # [H, n, S]
    scores = scores + additive_mask(sight)[0]  # [1 or H, n, S]: -inf where a key is not seen, else ALiBi's bias or 0
    return Spread(torch.special.entr(scores.softmax(dim=-1)).sum(dim=-1), scores.amax())
