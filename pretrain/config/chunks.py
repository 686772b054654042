"""How many tokens' logits the loss makes at a time (pretrain/model/loss.py): for the model and for the planner."""

from __future__ import annotations

BYTES = {"cpu": 64 * 2**20, "cuda": 512 * 2**20}
"""fp32 logits of one chunk. Never changes the result beyond rounding. With 50,304 rows of 768 on one CPU core, losses
and gradients of 512 tokens take 1.8 s with chunks of 16 or 64 MiB (as unchunked), 2.9 s with 4 MiB, 8 s with 1 MiB. A
GPU computes 30 times more FLOPs for each byte that it moves, and every chunk moves the gradient of the whole weight:
chunks are larger there, by the planner's arithmetic (12 bytes by 6 FLOPs per token of a chunk; not measured)."""
TILE = 128
"""Rows of a product that a GPU works on at a time."""


def tokens_at_once(columns: float, device: str) -> int:
    """For logits of so many columns on a `cpu` or a `cuda` device."""
    tokens = max(1, int(BYTES[device] // (4 * columns)))
    return max(TILE, tokens // TILE * TILE) if device == "cuda" else tokens
