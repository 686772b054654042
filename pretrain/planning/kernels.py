"""How long one GPU takes for a product of matrices, and for what only moves bytes.

A product of M x K and K x N is cut into tiles. Each multiprocessor works on one tile at a time, so that time goes up in
steps of a wave (NVIDIA, Matrix Multiplication Background, section 4); a tile that is not full costs a whole one, rows
whose bytes are not a multiple of 128 are read slowly, and a tile has a start and an end beside its K steps.
"""

from __future__ import annotations

from math import ceil, gcd

from pretrain.config.hardware import Hardware

RAMP = 128
"""Columns of K whose time goes by before a tile's products run at full speed, and after them."""
ALIGNED = 64
"""Elements of 16 bits in 128 bytes."""


def product_seconds(hardware: Hardware, rows: float, columns: float, inner: float, batch: float = 1) -> float:
    """`batch` products of rows x inner and inner x columns, in 16 bits."""
    compute = 2 * batch * rows * columns * inner / (hardware.tflops * 1e12 * hardware.efficiency.matmul)
    share = _filled(hardware, rows, columns, batch) * inner / (inner + RAMP) * _alignment(columns, inner)
    moved = 2 * batch * (rows * columns + rows * inner + inner * columns)
    return max(compute / share, bytes_seconds(hardware, moved))


def bytes_seconds(hardware: Hardware, moved: float) -> float:
    """Kernels that read and write `moved` bytes and compute next to nothing."""
    return moved / (hardware.memory_bandwidth * 1e9 * hardware.efficiency.memory)


def _filled(hardware: Hardware, rows: float, columns: float, batch: float) -> float:
    """Useful share of the tiles of all waves, with the best tile that libraries have: whole, half or a quarter."""
    high, wide = hardware.tile
    tiles = ((high, wide, 1.0), (wide, wide, 0.93), (wide, wide // 2, 0.8))
    return max(speed * _waves(hardware, rows, columns, batch, (r, c)) for r, c, speed in tiles)


def _waves(hardware: Hardware, rows: float, columns: float, batch: float, tile: tuple[int, int]) -> float:
    tiles = batch * ceil(rows / tile[0]) * ceil(columns / tile[1])
    slots = hardware.multiprocessors * (hardware.tile[0] * hardware.tile[1] // (tile[0] * tile[1]))
    waves = ceil(tiles / slots)
    return batch * rows * columns / (waves * slots * tile[0] * tile[1])


def _alignment(columns: float, inner: float) -> float:
    """Speed where a side is not a multiple of 128 bytes."""
    return min(SPEED_OF[gcd(int(side), ALIGNED)] for side in (columns, inner))


SPEED_OF = {64: 1.0, 32: 0.95, 16: 0.85, 8: 0.7, 4: 0.5, 2: 0.3, 1: 0.15}
"""By the largest power of two that divides a side, up to 64 elements."""
