"""What all blocks need to know about the tokens they see, derived once per forward pass.

It follows from the document ids alone, so a pipeline stage needs no more than those.
Shapes: B batch, T tokens, S keys (T, or more with a cache), D d_head.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pretrain.config.errors import ConfigError
from pretrain.config.model import Model
from pretrain.model.attention import KERNELS, Kernel, Mask, Sight, choose
from pretrain.model.cache import Cache
from pretrain.model.positions import Rotary, alibi_slopes, document_starts, rotary_of


@dataclass(frozen=True)
class Sequence:
    """Positions, masks and the attention kernel of one forward pass."""

    positions: Tensor
    """[B or 1, T] int64, from 0 in each document."""
    rotary: Rotary | None
    """Cosines and sines of the positions, when the model is rotary."""
    kernel: Kernel
    """How attention is computed on this device with these masks."""
    masks: dict[int | None, Mask]
    """The kernel's mask, with ALiBi's bias in it, for each band width of the model (None: dense)."""
    cache: Cache | None = None
    """Keys and values of earlier tokens; generation only."""
    sights: dict[int | None, Sight] = field(default_factory=dict)
    """What the masks were made from, for each band width."""


def describe(
    config: Model,
    shape: torch.Size | tuple[int, int],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    document: Tensor | None = None,
    cache: Cache | None = None,
    dropout: float = 0.0,
    heads: slice = slice(None),
) -> Sequence:
    """The Sequence of B x T tokens.

    `document` [B, T] int32 keeps attention and positions inside each document; None: one document per row. `dropout`
    is that of attention weights, 0 outside training; `heads` are those that are computed here. Raises ConfigError when
    T exceeds the context or when the configured kernel cannot compute these masks on this device.
    """
    batch, tokens = shape
    if cache and document is not None:
        raise ValueError("a cache holds one document per row: give no document ids with it")
    past = cache.length if cache else 0
    _check_length(config, past + tokens)
    own = torch.arange(past, past + tokens, device=device)
    start = None if document is None else document_starts(document)
    widths = {config.band_of(layer) for layer in range(config.layers)}
    keys = past + tokens
    slopes = torch.tensor(alibi_slopes(config.heads)[heads], device=device) if config.positions == "alibi" else None
    sights = {width: Sight(batch, own, keys, start, _useful(width, keys), dtype, slopes) for width in widths}
    kernel = _kernel(config, device, dtype, list(sights.values()), cache, dropout)
    positions = own[None] if start is None else own - start
    return Sequence(
        positions=positions,
        rotary=rotary_of(positions, config.rope_width, config.rope_theta) if config.positions == "rope" else None,
        kernel=kernel,
        masks={width: kernel.prepare(sight) for width, sight in sights.items()},
        cache=cache,
        sights=sights,
    )


def _useful(width: int | None, keys: int) -> int | None:
    """A band as wide as the sequence hides nothing: dense attention is faster."""
    return None if width is None or width >= keys else width


def _kernel(
    config: Model,
    device: torch.device,
    dtype: torch.dtype,
    sights: list[Sight],
    cache: Cache | None,
    dropout: float,
) -> Kernel:
    if cache is not None:  # a few queries against many keys: the fused kernels above assume T = S
        return KERNELS["plain" if config.attention == "plain" else "sdpa"]
    masked = any(not sight.causal for sight in sights)
    return KERNELS[choose(config.attention, device, dtype, masked, dropout)]


def _check_length(config: Model, tokens: int) -> None:
    if tokens > config.context:
        raise ConfigError.of(
            "model.context", config.context, f"must hold the sequence of {tokens} tokens", f"context: {tokens}"
        )
