"""How long one GPU takes for a product of matrices, and for what only moves bytes.

A product of M x K and K x N is cut into tiles. Each multiprocessor works on one tile at a time, so that time goes up in
steps of a wave (NVIDIA, Matrix Multiplication Background, section 4); a tile that is not full costs a whole one, rows
whose bytes are not a multiple of 128 are read slowly, and a tile has a start and an end beside its K steps.
"""

from __future__ import annotations

from math import ceil, gcd

from pretrain.config.hardware import Hardware
from pretrain.planning.job import Job

RAMP = 164
"""Columns of K whose time goes by before a tile's products run at full speed on a GPU, and after them (fitted)."""
LINE = 128
"""Bytes that are read at once."""
SPEED_OF = {64: 1.0, 32: 0.95, 16: 0.85, 8: 0.47, 4: 0.47, 2: 0.46, 1: 0.46}
"""By the largest power of two that divides a side, in numbers of 16 bits; 8 and 1 are fitted."""
SMALLER = ((1, 1, 1.0), (2, 1, 0.93), (2, 2, 0.8))
"""Smaller tiles that libraries have: parts of the height and width, and their speed at best."""


def product_seconds(job: Job, rows: float, columns: float, inner: float, batch: float = 1) -> float:
    """`batch` products of rows x inner and inner x columns, in the run's number format."""
    hardware = job.hardware
    compute = 2 * batch * rows * columns * inner / (job.peak * hardware.efficiency.matmul)
    ramp = inner / (inner + RAMP) if job.device == "cuda" else 1.0
    share = _filled(hardware, rows, columns, batch) * ramp * _alignment(job.width, columns, inner)
    moved = job.width * batch * (rows * columns + rows * inner + inner * columns)
    return max(compute / share, bytes_seconds(hardware, moved))


def bytes_seconds(hardware: Hardware, moved: float) -> float:
    """Kernels that read and write `moved` bytes and compute next to nothing."""
    return moved / (hardware.memory_bandwidth * 1e9 * hardware.efficiency.memory)


def _filled(hardware: Hardware, rows: float, columns: float, batch: float) -> float:
    """Useful share of the tiles of all waves, with the best of the tiles."""
    return max(speed * _waves(hardware, rows, columns, batch, *parts) for *parts, speed in SMALLER)


def _waves(hardware: Hardware, rows: float, columns: float, batch: float, high: int, wide: int) -> float:
    height, width = hardware.tile[0] // high, hardware.tile[1] // wide
    tiles = batch * ceil(rows / height) * ceil(columns / width)
    slots = hardware.multiprocessors * high * wide
    return batch * rows * columns / (ceil(tiles / slots) * slots * height * width)


def _alignment(width: int, columns: float, inner: float) -> float:
    """Speed where the bytes of a side are not a multiple of LINE."""
    return min(SPEED_OF[gcd(int(side * width / 2), LINE // 2)] for side in (columns, inner))
