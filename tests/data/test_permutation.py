"""The keyed permutation."""

import numpy as np
import pytest

from pretrain.data.permutation import permute, restore


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 18, 31, 32, 33, 100, 1000, 4097, 70_001])
def test_every_index_comes_once(size: int) -> None:
    image = permute(np.arange(size), size, b"key")
    assert np.array_equal(np.sort(image), np.arange(size))


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 18, 31, 32, 33, 100, 4097, 70_001, 10**12])
def test_the_inverse(size: int) -> None:
    index = np.arange(min(size, 5000)) + max(0, size - 5000)
    assert np.array_equal(restore(permute(index, size, b"key"), size, b"key"), index)


def test_literal_values() -> None:
    """A change here changes the batches of every run: it needs a new format version."""
    assert permute(np.arange(5), 5, b"1234/web/0").tolist() == SMALL
    assert permute(np.arange(8), 1000, b"1234/web/0").tolist() == MIDDLE
    assert permute(np.arange(3), 10**12, b"1234/web/0").tolist() == LARGE


SMALL = [3, 0, 2, 1, 4]
MIDDLE = [806, 216, 332, 98, 170, 312, 298, 51]
LARGE = [831805449541, 864019822519, 429157045628]


def test_any_part_is_computed_alone() -> None:
    whole = permute(np.arange(10_000), 10_000, b"k")
    some = np.array([9_999, 3, 5_000, 3])
    assert np.array_equal(permute(some, 10_000, b"k"), whole[some])


def test_keys_differ() -> None:
    a, b = (permute(np.arange(1000), 1000, key) for key in (b"a", b"b"))
    assert (a == b).sum() < 20  # one in expectation


def test_neighbours_are_unrelated() -> None:
    image = permute(np.arange(100_000), 100_000, b"k")
    # the mean distance of two independent uniform places is a third of the range
    assert np.abs(np.diff(image)).mean() == pytest.approx(100_000 / 3, rel=0.02)
    # and so is the share of each tenth of the domain in each tenth of the image
    table = np.histogram2d(np.arange(100_000), image, bins=10)[0]
    assert table.min() > 900 and table.max() < 1100


@pytest.mark.parametrize("wrong", [-1, 10])
def test_outside_is_refused(wrong: int) -> None:
    for way in (permute, restore):
        with pytest.raises(ValueError, match="must be in"):
            way(np.array([wrong]), 10, b"k")
