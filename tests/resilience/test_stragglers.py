"""Slow ranks are named after some windows, and forgotten when they are quick again."""

from __future__ import annotations

import pytest

from pretrain.config.resilience import Stragglers
from pretrain.resilience.stragglers import Pace, Slow, Told, slow_ratios


@pytest.mark.parametrize(
    ("seconds", "slow"),
    [
        ([1.0, 1.1, 1.0, 1.3], {3: 1.3 / 1.05}),  # the median of four is 1.05
        ([1.0, 1.1, 1.0, 1.2], {}),
        ([1.0, 1.5], {1: 1.5}),
        ([2.0], {}),
        ([0.0, 0.0, 1.0], {}),
    ],
)
def test_ratios(seconds: list[float], slow: dict[int, float]) -> None:
    assert slow_ratios(dict(enumerate(seconds)), 1.2) == pytest.approx(slow)


def test_named_after_three_windows_in_a_row() -> None:
    pace = Pace(Stragglers(window=50, ratio=1.2, windows=3))
    for window, last in enumerate([2.0, 2.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0], start=1):
        for rank, seconds in enumerate([1.0, 1.0, last]):
            pace.add(window, Told(rank, f"node{rank}", 0, seconds), 3)
        named = pace.slow == [Slow(2, "node2", 2.0)]
        assert named == (window in (6, 7))
    assert pace.news == [
        "rank 2 on node2 is slow: 2.00 times the median of the computing time, 3 windows of 50 steps in a row",
        "rank 2 is no longer slow",
    ]


def test_a_rank_that_never_tells_keeps_no_windows() -> None:
    pace = Pace(Stragglers(windows=1))
    for window in range(1, 100):
        pace.add(window, Told(0, "a", 0, 1.0), 2)
    pace.add(99, Told(1, "b", 0, 2.0), 2)
    assert [slow.rank for slow in pace.slow] == [1] and not pace._open


def test_stages_are_compared_with_their_like() -> None:
    """The last stage computes the logits too: 1.9 times the first."""
    pace = Pace(Stragglers(windows=1, ratio=1.2))
    for rank, seconds in enumerate([1.0, 1.0, 1.9, 1.9]):
        pace.add(1, Told(rank, "a", rank // 2, seconds), 4)
    assert pace.slow == []
    for rank, seconds in enumerate([1.0, 1.0, 1.9, 3.8]):
        pace.add(2, Told(rank, "a", rank // 2, seconds), 4)
    assert pace.slow == [Slow(3, "a", 2.0)]
