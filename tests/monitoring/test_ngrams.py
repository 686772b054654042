"""The lines to beat, by hand."""

from math import log

import numpy as np
import pytest

from pretrain.monitoring.ngrams import NgramCounts


def counted() -> NgramCounts:
    """Targets 1 1 2 | 0 1 2 after 0 1 1 | 2 0 1, vocabulary 3: pairs 01 11 12 20 01 12."""
    counts = NgramCounts(3)
    counts.add([np.array([[0, 1, 1, 2]], dtype=np.int32), np.array([[2, 0, 1, 2]], dtype=np.int32)])
    return counts


def test_by_hand() -> None:
    """Unigrams (1, 3, 2) + 1 of 9: 2/9, 4/9, 3/9. After 0: 1 twice, one kind. After 1: 1 once, 2 twice, two kinds."""
    losses = counted().losses([np.array([[0, 1, 2]], dtype=np.int32)])
    assert losses["unigram"] == pytest.approx(-(log(4 / 9) + log(3 / 9)) / 2)
    after_0 = (2 + 1 * 4 / 9) / (2 + 1)
    after_1 = (2 + 2 * 3 / 9) / (3 + 2)
    assert losses["bigram"] == pytest.approx(-(log(after_0) + log(after_1)) / 2)


def test_an_unseen_pair_backs_off() -> None:
    losses = counted().losses([np.array([[0, 0]], dtype=np.int32)])
    assert losses["bigram"] == pytest.approx(-log((0 + 1 * 2 / 9) / 3))


def test_a_token_that_nothing_followed_is_a_unigram() -> None:
    counts = NgramCounts(4)
    counts.add([np.array([[0, 1]], dtype=np.int32)])
    losses = counts.losses([np.array([[3, 1]], dtype=np.int32)])
    assert losses["bigram"] == losses["unigram"] == pytest.approx(-log(2 / 5))


def test_counting_in_parts_is_counting_at_once() -> None:
    random = np.random.default_rng(0)
    windows = [random.integers(0, 50, size=(4, 33), dtype=np.int32) for _ in range(6)]
    whole, parts = NgramCounts(50), NgramCounts(50)
    whole.add(windows)
    for window in windows:
        parts.add([window])
    test = [random.integers(0, 50, size=(2, 17), dtype=np.int32)]
    assert whole.losses(test) == parts.losses(test)


def test_probabilities_sum_to_one() -> None:
    counts = counted()
    for before in range(3):
        losses = [counts.losses([np.array([[before, token]], dtype=np.int32)])["bigram"] for token in range(3)]
        assert sum(np.exp(-loss) for loss in losses) == pytest.approx(1)
