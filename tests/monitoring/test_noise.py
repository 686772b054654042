"""The noise scale of problems whose gradient and covariance are known."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain.monitoring.noise import Estimate, Gradients, Smoothed, estimate


def test_two_equal_parts_by_hand() -> None:
    """Parts of 2 tokens with mean gradients 1 and 3, whole 2: McCandlish et al. 2018, Appendix A.1.

    |G|^2 = (4 * 2^2 - 2 * (1 + 9) / 2) / (4 - 2) = 3, tr(S) = ((1 + 9) / 2 - 2^2) / (1 / 2 - 1 / 4) = 4.
    """
    parts = (1 * 2 / 4) ** 2 + (3 * 2 / 4) ** 2  # each adds its share of the tokens
    assert estimate(Gradients(whole=4.0, parts=parts, tokens=4, squares=8)) == Estimate(3.0, 4.0)


def test_one_part_tells_nothing() -> None:
    assert estimate(Gradients(1.0, 1.0, 16, 256)) is None
    assert estimate(Gradients(0.0, 0.0, 0, 0)) is None


@pytest.mark.parametrize("sizes", [(8, 8, 8, 8), (1, 3, 4, 24), (16, 16)])
def test_a_quadratic_bowl(sizes: tuple[int, ...]) -> None:
    """Loss |w - x|^2 / 2 of samples x ~ N(0, diag(1, 4, 9)) at w = (2, 1, 0): gradient w - x, |G|^2 = 5, tr(S) = 14."""
    random, tokens = np.random.Generator(np.random.Philox(7)), sum(sizes)
    gradients = np.array([2, 1, 0]) - random.normal(size=(10_000, tokens, 3)) * [1, 2, 3]  # [batch, sample, 3]
    added = [part.sum(axis=1) / tokens for part in np.split(gradients, np.cumsum(sizes)[:-1], axis=1)]
    whole, parts = _square(np.sum(added, axis=0)), np.sum([_square(part) for part in added], axis=0)
    squares = sum(n * n for n in sizes)
    found = [estimate(Gradients(w, p, tokens, squares)) for w, p in zip(whole, parts, strict=True)]
    smoothed = Smoothed.of(0.999, [one for one in found if one])
    assert smoothed.signal == pytest.approx(5, rel=0.05)
    assert smoothed.variance == pytest.approx(14, rel=0.05)
    assert smoothed.scale == pytest.approx(14 / 5, rel=0.05)


def _square(rows: np.ndarray) -> np.ndarray:
    squares: np.ndarray = (rows**2).sum(axis=1)
    return squares


def test_averages_are_taken_before_the_ratio() -> None:
    """decay 1/2: signals 4, 2 and variances 8, 20 have averages 2 and 12, started at 0: 6 tokens."""
    smoothed = Smoothed.of(0.5, [Estimate(4, 8), Estimate(2, 20)])
    assert (smoothed.signal, smoothed.variance, smoothed.scale) == (2, 12, 6)


def test_no_scale_while_the_noise_hides_the_signal() -> None:
    assert Smoothed.of(0.5, [Estimate(-1, 8)]).scale is None
    assert Smoothed.of(0.5, []).scale is None
