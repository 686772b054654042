"""Activations that are computed again in the backward pass instead of being kept (Chen et al. 2016).

selective: only the attention core, whose scores are large and cheap (Korthikanti et al. 2022, section 5); full: whole
blocks, of which only the input is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from pretrain.config.parallel import Parallel
from pretrain.model.layers import Block


def add_recompute(blocks: Iterable[Block], config: Parallel) -> None:
    """Make the chosen modules forget their insides, in place. Random numbers are drawn alike both times."""
    for block in blocks:
        if config.recompute == "selective":
            _forget(block.attention.core)
        elif config.recompute == "full" and block.attention.layer % config.recompute_every == 0:
            _forget(block)


def _forget(module: nn.Module) -> None:
    forward = module.forward

    def forward_again(*arguments: Any) -> Any:
        if not module.training:
            return forward(*arguments)
        return checkpoint(forward, *arguments, use_reentrant=False)

    module.forward = forward_again
