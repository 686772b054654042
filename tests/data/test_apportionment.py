"""Exact shares in closed form."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.data.apportionment import assign, counts, sample_number, whole_weights

MIXTURES = st.lists(st.integers(0, 1000), min_size=1, max_size=7).filter(any)


@given(MIXTURES, st.integers(0, 2000))
@settings(max_examples=60, deadline=None)
def test_close_to_the_ideal_share_at_every_point(weights: list[int], samples: int) -> None:
    source, before = assign(np.arange(samples), weights)
    served = np.stack([np.cumsum(source == number) for number in range(len(weights))])
    ideal = np.outer(weights, np.arange(1, samples + 1)) / sum(weights)
    assert np.abs(served - ideal).max(initial=0) <= max(1, len(weights) - 1)
    for number in range(len(weights)):
        assert before[source == number].tolist() == list(range(counts(samples, weights)[number]))


@given(MIXTURES, st.integers(0, 10**12))
@settings(max_examples=60, deadline=None)
def test_far_out_it_is_still_exact(weights: list[int], samples: int) -> None:
    taken = counts(samples, weights)
    assert sum(taken) == samples
    source, before = assign(np.array([samples], dtype=np.int64), weights)
    assert before[0] == taken[source[0]]
    for weight, take in zip(weights, taken, strict=True):
        assert abs(take - samples * weight / sum(weights)) <= max(1, len(weights) - 1)


@given(MIXTURES, st.integers(0, 10**12))
@settings(max_examples=60, deadline=None)
def test_the_inverse(weights: list[int], first: int) -> None:
    source, before = assign(np.arange(first, first + 50), weights)
    found = [sample_number(*place, weights) for place in zip(source.tolist(), before.tolist(), strict=True)]
    assert found == list(range(first, first + 50))


def test_no_sample_of_a_source_without_weight() -> None:
    with pytest.raises(ValueError, match="source 1 has weight 0"):
        sample_number(1, 0, (3, 0))


def test_literal_order_of_gpt3s_mixture() -> None:
    """60, 22, 16, 3: checked by hand for the first source, floor((n + 1) 60 / 101) > floor(n 60 / 101)."""
    source, _ = assign(np.arange(20), (60, 22, 16, 3))
    first = [(n + 1) * 60 // 101 > n * 60 // 101 for n in range(20)]
    assert (source == 0).tolist() == first
    assert counts(101, (60, 22, 16, 3)) == [60, 22, 16, 3]
    assert counts(101 * 10**9, (60, 22, 16, 3)) == [60 * 10**9, 22 * 10**9, 16 * 10**9, 3 * 10**9]


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        (["60", "22", "16", "3"], (60, 22, 16, 3)),
        (["0.6", "0.4"], (3, 2)),
        (["0.125", "1"], (1, 8)),
        (["2", "0"], (1, 0)),
        (["1e2", "50"], (2, 1)),
    ],
)
def test_decimals_become_whole(written: list[str], whole: tuple[int, ...]) -> None:
    assert whole_weights([Decimal(weight) for weight in written]) == whole


def test_very_long_decimals_are_rounded_to_nine_digits() -> None:
    a, b = whole_weights([Decimal("0.3333333333333333"), Decimal("0.6666666666666667")])
    assert a / (a + b) == pytest.approx(1 / 3, rel=1e-9)
    assert a + b < 2**31


def test_a_tiny_weight_does_not_vanish() -> None:
    assert whole_weights([Decimal("1"), Decimal("1e-12"), Decimal(0)])[1:] == (1, 0)


def test_no_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        whole_weights([Decimal(0)])
