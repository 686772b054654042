"""Which source sample g comes from: exact shares in closed form, spread evenly, with no state.

The sources are peeled off one by one. Of the first n samples that are left, the next source takes floor(n w / W), W
being the weight still left; the others share the rest. At any point each count is within (sources - 1) samples of its
ideal share, since every floor is off by less than one sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

LARGEST_TOTAL = 2**31
"""Weights are whole numbers of at most this total, so that products stay inside 64 bits."""


def whole_weights(weights: Sequence[Decimal]) -> tuple[int, ...]:
    """The smallest whole numbers in the same ratio as the decimals; exact up to nine digits, then rounded.

    Raises ValueError when there is no positive weight.
    """
    if not any(weight > 0 for weight in weights):
        raise ValueError("needs a weight above 0")
    digits = max(0, *(-int(weight.normalize().as_tuple().exponent) for weight in weights))
    whole = [int(weight.scaleb(digits)) for weight in weights]
    if sum(whole) >= LARGEST_TOTAL:
        total = sum(whole)
        room = LARGEST_TOTAL - 2 * len(whole)
        whole = [max(1, round(weight * room / total)) if weight else 0 for weight in whole]
    divisor = int(np.gcd.reduce(whole))
    return tuple(weight // divisor for weight in whole)


def counts(samples: int, weights: Sequence[int]) -> list[int]:
    """How many of the first `samples` each source gives."""
    taken, left, total = [], samples, sum(weights)
    for weight in weights:
        take = left * weight // total if total else 0
        taken.append(take)
        left, total = left - take, total - weight
    return taken


def assign(samples: Indices, weights: Sequence[int]) -> tuple[Indices, Indices]:
    """For sample numbers [n]: the source [n] of each, and how many samples of that source came before it [n]."""
    source = np.full(samples.shape, -1, dtype=np.int64)
    before = np.zeros_like(samples)
    left, total = samples.copy(), sum(weights)
    for number, weight in enumerate(weights):
        if weight == 0:
            continue
        taken = _share(left, weight, total)
        mine = (source < 0) & (_share(left + 1, weight, total) > taken)
        source[mine], before[mine] = number, taken[mine]
        left, total = left - taken, total - weight
    return source, before


def sample_number(source: int, drawn: int, weights: Sequence[int]) -> int:
    """The inverse of `assign`: the sample number at which `source` gives a sample after `drawn` of its own.

    Raises ValueError when the source has no weight.
    """
    if not weights[source]:
        raise ValueError(f"source {source} has weight 0")
    left = sum(weights[source:])
    number = -(-(drawn + 1) * left // weights[source]) - 1  # the first n with floor((n + 1) w / W) > drawn
    for weight in reversed(weights[:source]):
        number = number * (left + weight) // left  # the first n with (n + 1) - floor((n + 1) w / W) > number
        left += weight
    return number


def _share(samples: Indices, weight: int, total: int) -> Indices:
    """floor(samples x weight / total) without leaving 64 bits."""
    whole, rest = np.divmod(samples, np.int64(total))
    share: Indices = whole * weight + rest * weight // total
    return share
