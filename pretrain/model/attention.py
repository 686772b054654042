"""Causal attention and the kernels that compute it.

Every mask here is one idea: query i sees the keys first(i) .. i, where first(i) is 0 for dense attention, the start
of the document for masked documents, i - width + 1 inside a band; where these meet, the largest. ALiBi adds to the
score of a key a slope for each token that it lies behind; a document is a run of tokens, so that needs no mask.

Shapes: B batch, T queries, S keys (T, or more with a cache), H heads, KV key/value heads, D d_head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.config.errors import ConfigError

Mask = Any
"""What a kernel's `prepare` made: a boolean tensor, one to be added, Blocks, Spans; None when `causal` says it all."""


class Sight(NamedTuple):
    """Which keys each query sees."""

    batch: int
    """B."""
    own: Tensor
    """[T]: the index of each query among the keys; the last that it sees."""
    keys: int
    """S."""
    start: Tensor | None = None
    """[B, T]: index at which the query's document starts; None: one document."""
    width: int | None = None
    """Keys seen in a band, the query's own included; None: dense."""
    dtype: torch.dtype = torch.float32
    """Of queries and keys."""
    slopes: Tensor | None = None
    """[H] fp32: ALiBi's, of the heads that are computed here; None: scores do not depend on distance."""

    @property
    def causal(self) -> bool:
        """The plain triangle: no documents, no band, no cache, no bias."""
        plain = self.start is None and self.width is None and self.slopes is None
        return plain and self.own.shape[0] == self.keys

    @property
    def whole(self) -> bool:
        """One query that sees all keys, as in each step of generation: they end with its own."""
        return self.own.shape[0] == 1 and self.start is None and self.width is None and self.slopes is None

    def first(self) -> Tensor:
        """[B or 1, T]: the first key that each query sees."""
        first = torch.zeros_like(self.own)[None] if self.start is None else self.start
        return first if self.width is None else torch.maximum(first, self.own - self.width + 1)


class Kernel(NamedTuple):
    """One way to compute attention."""

    prepare: Callable[[Sight], Mask]
    """Once per forward pass."""
    attend: Callable[[Tensor, Tensor, Tensor, Mask, float], Tensor]
    """(q [B, H, T, D], k [B, KV, S, D], v [B, KV, S, D], mask, dropout) -> [B, H, T, D]; once per block."""


def choose(requested: str, device: torch.device, dtype: torch.dtype, masked: bool, dropout: float) -> str:
    """Name of the kernel for this device and mask (`masked`: documents, bands or ALiBi, not only causal).

    Raises ConfigError when the requested kernel cannot do that here.
    """
    cuda = device.type == "cuda"
    if requested == "auto":
        return "flex" if masked and cuda and not dropout else "sdpa"
    refusals = {
        "flash": (
            (cuda and dtype == torch.float32, "flash attention on CUDA computes in bf16, the model is fp32"),
            (masked and not cuda, f"flash attention with documents or bands runs on CUDA, this is {device.type}"),
            (masked and not _has_varlen(), "flash attention with documents or bands needs torch.nn.attention.varlen"),
            (masked and dropout > 0, "flash attention with documents or bands has no dropout"),
        ),
        "flex": (
            (not cuda, f"flex attention trains on CUDA only, this is {device.type}"),
            (dropout > 0, "flex attention has no dropout"),
        ),
    }
    for refused, rule in refusals.get(requested, ()):
        if refused:
            raise ConfigError.of("model.attention", requested, rule, "attention: auto, or sdpa, which always works")
    return requested


def _has_varlen() -> bool:
    return find_spec("torch.nn.attention.varlen") is not None


# plain: written out, to read and to test the others against ----------------------------------------------------------


def boolean_mask(sight: Sight) -> Tensor:
    """True where query i sees key j: [B or 1, 1, T, S]."""
    key = torch.arange(sight.keys, device=sight.own.device)
    seen = (key <= sight.own[:, None]) & (key >= sight.first()[..., None])  # [B or 1, T, S]
    return seen[:, None]


def additive_mask(sight: Sight) -> Tensor:
    """-inf where query i does not see key j, else 0 or ALiBi's bias: [B or 1, 1 or H, T, S].

    Made once for all layers: of a boolean mask each layer would make and keep such a copy.
    """
    bias = torch.zeros((), device=sight.own.device)
    if sight.slopes is not None:
        key = torch.arange(sight.keys, device=sight.own.device)
        bias = sight.slopes[:, None, None] * (key - sight.own[:, None])  # [H, T, S]
    return torch.where(boolean_mask(sight), bias, float("-inf")).to(sight.dtype)


def _boolean_unless_biased(sight: Sight) -> Tensor:
    return boolean_mask(sight) if sight.slopes is None else additive_mask(sight)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: Mask, dropout: float) -> Tensor:
    """softmax(q k' / sqrt(D)) v, all scores in memory (Vaswani et al. 2017)."""
    groups = q.shape[1] // k.shape[1]
    k = k.repeat_interleave(groups, dim=1)  # [B, KV, S, D] -> [B, H, S, D]
    v = v.repeat_interleave(groups, dim=1)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, H, T, S]
    scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    return F.dropout(weights, dropout) @ v


# sdpa: PyTorch picks flash, memory-efficient or math -----------------------------------------------------------------


def _mask_unless_causal(sight: Sight) -> Tensor | None:
    return None if sight.causal or sight.whole else additive_mask(sight)


def sdpa_attention(q: Tensor, k: Tensor, v: Tensor, mask: Mask, dropout: float) -> Tensor:
    """PyTorch's fused attention; without a mask it is causal and skips the upper triangle."""
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None and q.shape[2] > 1, enable_gqa=grouped
    )


# flash: never falls back to a slower kernel. Its variable-length half needs CUDA: not run by the tests ---------------


class Spans(NamedTuple):
    """Documents laid back to back in B * T tokens, as variable-length flash attention wants them."""

    starts: Tensor  # [documents + 1] int32, the last is B * T
    longest: int  # an upper bound: the exact one would wait for the GPU
    width: int


def _spans_unless_causal(sight: Sight) -> Spans | None:
    if sight.causal:
        return None
    start = sight.start if sight.start is not None else torch.zeros_like(sight.own)[None]
    opens = (start == sight.own).expand(sight.batch, -1)  # [B, T]: True at the first token of a document
    starts = opens.flatten().nonzero().flatten()
    starts = F.pad(starts, (0, 1), value=opens.numel()).int()
    return Spans(starts, sight.keys, sight.width or sight.keys)


def flash_attention(q: Tensor, k: Tensor, v: Tensor, mask: Mask, dropout: float) -> Tensor:
    """FlashAttention (Dao 2023) as PyTorch ships it: causal, or over Spans."""
    if mask is None:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return sdpa_attention(q, k, v, None, dropout)
    from torch.nn.attention.varlen import varlen_attn

    q_flat, k_flat, v_flat = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))  # [B, H, T, D] -> [B * T, H, D]
    out = varlen_attn(
        q_flat, k_flat, v_flat, mask.starts, mask.starts, mask.longest, mask.longest,
        window_size=(mask.width - 1, 0), enable_gqa=q.shape[1] != k.shape[1],
    )  # fmt: skip
    return cast(Tensor, out).view(q.shape[0], -1, *q.shape[1::2]).transpose(1, 2)  # [B * T, H, D] -> [B, H, T, D]


# flex: compiled and block-sparse, blocks outside the mask cost nothing (Dong et al. 2024) ----------------------------


class Blocks(NamedTuple):
    """What FlexAttention takes."""

    seen: Any  # a BlockMask
    bias: Callable[..., Tensor] | None  # of a score and its place: the score with ALiBi's bias


def _blocks(sight: Sight) -> Blocks:
    from torch.nn.attention.flex_attention import create_block_mask

    first = sight.first()
    batch = None if len(first) == 1 else len(first)  # None: one mask for all, which may not look at b

    def seen(b: Tensor, _h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (key >= first[0 if batch is None else b, query])

    blocks = create_block_mask(seen, batch, None, first.shape[1], sight.keys, device=str(first.device))
    return Blocks(blocks, None if sight.slopes is None else _biased(sight.slopes))


def _biased(slopes: Tensor) -> Callable[..., Tensor]:
    def biased(score: Tensor, _b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + slopes[h] * (key - query)

    return biased


@cache
def _compiled_flex() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def flex_attention(q: Tensor, k: Tensor, v: Tensor, mask: Mask, dropout: float) -> Tensor:
    """PyTorch's FlexAttention; not compiled it would hold all scores."""
    grouped = q.shape[1] != k.shape[1]
    out: Tensor = _compiled_flex()(q, k, v, score_mod=mask.bias, block_mask=mask.seen, enable_gqa=grouped)
    return out


KERNELS = {
    "plain": Kernel(_boolean_unless_biased, plain_attention),
    "sdpa": Kernel(_mask_unless_causal, sdpa_attention),
    "flash": Kernel(_spans_unless_causal, flash_attention),
    "flex": Kernel(_blocks, flex_attention),
}
