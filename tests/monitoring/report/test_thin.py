"""Curves with fewer points."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain.monitoring.report.thin import smooth, thin, window


def test_every_peak_and_both_ends_stay() -> None:
    x, y = np.arange(100_000.0), np.sin(np.arange(100_000.0))
    y[[31_415, 77_777]] = 50.0, -50.0
    thinned = thin(x, y, buckets=100)
    assert len(thinned[0]) <= 202 and {31_415.0, 77_777.0} < set(thinned[0])
    assert (thinned[0][0], thinned[0][-1]) == (0.0, 99_999.0) and (np.diff(thinned[0]) > 0).all()
    assert (thinned[1] == y[thinned[0].astype(int)]).all()


def test_two_points_of_each_bucket() -> None:
    x, y = np.arange(12.0), np.array([3, 1, 2, 9, 5, 4, 0, 7, 8, 6, 6, 6.0])
    assert [list(column) for column in thin(x, y, buckets=3)] == [
        [0, 1, 3, 6, 7, 8, 9, 11],
        [3, 1, 9, 0, 7, 8, 6, 6],
    ]


def test_logarithmic_buckets_keep_the_beginning() -> None:
    x = np.arange(0.0, 100_001.0)
    kept = thin(x, -x, log=True, buckets=50)[0]
    assert kept[0] == 1 and (kept < 100).sum() > 20 > 2 >= (thin(x, -x, buckets=50)[0] < 100).sum()


def test_few_points_and_numbers_that_are_none() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, np.nan, 3.0])
    assert [list(column) for column in thin(x, y)] == [[1, 3], [1, 3]]
    assert [list(column) for column in thin(np.empty(0), np.empty(0))] == [[], []]


@pytest.mark.parametrize(
    ("y", "width", "expected"),
    [
        ([1, 2, 3, 4, 5], 3, [1, 2, 3, 4, 4.5]),
        ([9, 1, 2, 3, 4, 5, 6], 5, [9, 4, 3.8, 3, 4, 4.5, 5]),
        ([1, np.nan, 3], 3, [1, 2, 3]),
        ([np.nan, np.nan], 1, [np.nan, np.nan]),
        ([], 3, []),
    ],
)
def test_smoothing(y: list[float], width: int, expected: list[float]) -> None:
    np.testing.assert_allclose(smooth(np.array(y, dtype=float), width), expected)


def test_window() -> None:
    assert [window(rows) for rows in (0, 1, 30, 300, 1000, 10_000, 1_000_000)] == [1, 1, 3, 31, 51, 201, 20_001]
