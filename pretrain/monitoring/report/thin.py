"""Fewer points that look the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pretrain.monitoring.report.table import Column

BUCKETS = 400
"""About one for each point of width that a figure has."""


def thin(x: Column, y: Column, log: bool = False, buckets: int = BUCKETS) -> tuple[Column, Column]:
    """Of each bucket of x the lowest and the highest y, in order, and both ends; x must not fall.

    Every peak stays. Points that are no numbers go, and on a logarithmic axis (`log`) those at or below 0.
    """
    known = np.isfinite(x) & np.isfinite(y) & ((x > 0) | (not log))
    x, y = x[known], y[known]
    if len(x) <= 2 * buckets:
        return x, y
    at = np.log(x) if log else x
    bucket = np.minimum((at - at[0]) / max(at[-1] - at[0], 1e-300) * buckets, buckets - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(bucket, prepend=-1))
    extremes = [_first(y, bucket, starts, of) for of in (np.minimum, np.maximum)]
    kept = np.unique(np.concatenate([*extremes, [0, len(x) - 1]]))
    return x[kept], y[kept]


def _first(
    y: Column, bucket: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], of: np.ufunc
) -> npt.NDArray[np.int64]:
    """Where in each bucket its lowest, or highest, y comes first."""
    counts = np.diff(starts, append=len(y))
    found = np.flatnonzero(y == np.repeat(of.reduceat(y, starts), counts))
    return found[np.flatnonzero(np.diff(bucket[found], prepend=-1))]


def smooth(y: Column, width: int) -> Column:
    """The mean of up to `width` neighbours, as many on either side, so that nothing lags: few at the beginning, where
    curves fall steeply, and at the end those that there are, so that the last points do not decide where it leads.

    What is no number counts as if it were not there.
    """
    places = np.arange(len(y))
    half = np.minimum(max(0, width // 2), places)
    known = np.isfinite(y)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, y, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    first, last = places - half, np.minimum(places + half + 1, len(y))
    number = counts[last] - counts[first]
    return np.where(number > 0, (sums[last] - sums[first]) / np.maximum(number, 1), np.nan)


def window(rows: int) -> int:
    """Rows that a smoothed curve takes the mean of: 2%, 51 at least where there are so many, never an even number."""
    return max(1, min(max(rows // 50, 51), rows // 10)) | 1
