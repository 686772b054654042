"""Blocks compiled by torch.compile (Ansel et al. 2024), each by itself.

All blocks have the same code and shapes, so that one is compiled and the others use it; the whole model would take as
many times longer as it has layers (torchtitan does the same). Embedding, head and loss stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable

from pretrain.model.layers import Block


def add_compile(blocks: Iterable[Block]) -> None:
    """Have each block compiled when it is first called, in place."""
    for block in blocks:
        block.compile(dynamic=False)
