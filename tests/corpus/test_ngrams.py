"""The n-gram model against a calculation by hand, and that it is a probability."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pretrain.corpus.quality.lookup import GOLDEN, UNKNOWN, SortedKeys, spread
from pretrain.corpus.quality.ngrams import Ngrams, estimate

A, B, C, START = 0, 1, 2, 3


def documents(*texts: str) -> list[np.ndarray]:
    return [np.array(["abc".index(letter) for letter in text]) for text in texts]


def probabilities(model: Ngrams, history: list[int]) -> np.ndarray:
    """Of every token after a history."""
    rows = [model.log_probabilities(np.array([*history, token]))[-1] for token in range(model.vocabulary)]
    return np.exp(np.array(rows, dtype=np.float64))


def test_bigrams_by_hand() -> None:
    """Documents ab, ab, ac, b. Bigrams: <s>a 3, <s>b 1, ab 2, ac 1.

    Tokens that stand before: a 1 (<s>), b 2 (<s>, a), c 1 (a): of 4. Once 2, twice 1: D = 2/4.
    Single: a (1-.5)/4 + left/4, b (2-.5)/4 + left/4, c as a; left = 1 - 2.5/4 = .375, over 4 tokens: .09375.
    Bigrams: once 2, twice 1, D = .5 again. After <s>: (3-.5)/4, (1-.5)/4, left .25. After a: 1.5/3, .5/3, left 1/3.
    """
    model = estimate(documents("ab", "ab", "ac", "b"), 4, START, (1, 1))
    a, b, c, start = 0.125 + 0.09375, 0.375 + 0.09375, 0.125 + 0.09375, 0.09375
    expected = [0.625 + a / 4, 0.125 + b / 4, c / 4, start / 4]
    np.testing.assert_allclose(probabilities(model, []), expected, rtol=1e-6)
    np.testing.assert_allclose(probabilities(model, [A]), [a / 3, 0.5 + b / 3, 0.5 / 3 + c / 3, start / 3], rtol=1e-6)
    np.testing.assert_allclose(probabilities(model, [B]), [a, b, c, start], rtol=1e-6)  # nothing stood after b
    whole = model.log_probabilities(np.array([A, B]))
    np.testing.assert_allclose(whole, np.log([0.625 + a / 4, 0.5 + b / 3]), rtol=1e-6)


def kneser_ney(texts: list[tuple[int, ...]], least: tuple[int, ...], history: tuple[int, ...], token: int) -> float:
    """The recursion of the textbook, with dictionaries and without speed, over a vocabulary of 4."""
    padded, order = [(START, *text) for text in texts], len(least)

    def raw(n: int) -> dict[tuple[int, ...], int]:
        grams = [text[i : i + n] for text in padded for i in range(len(text) - n + 1)]
        return {gram: grams.count(gram) for gram in set(grams) if n == 1 or gram[-1] != START}

    def count(n: int) -> dict[tuple[int, ...], int]:
        own = raw(n)
        if n == order:
            return own
        before = {gram: len({longer[0] for longer in raw(n + 1) if longer[1:] == gram}) for gram in own}
        return {gram: own[gram] if n > 1 and gram[0] == START else before[gram] for gram in own}

    def probability(history: tuple[int, ...], token: int) -> float:
        n = len(history) + 1
        counts = {gram: c for gram, c in count(n).items() if n == 1 or raw(n - 1)[gram[:-1]] >= least[n - 2]}
        once, twice = (sum(number == times for number in counts.values()) for times in (1, 2))
        discount = min(max(once / max(once + 2 * twice, 1), 0.1), 0.9)
        same = {gram: number for gram, number in counts.items() if gram[:-1] == history}
        total = sum(same.values())
        kept = {
            gram: max(number - discount, 0) / total for gram, number in same.items() if raw(n)[gram] >= least[n - 1]
        }
        shorter = probability(history[1:], token) if n > 1 else 1 / 4
        return kept.get((*history, token), 0) + (1 - sum(kept.values())) * shorter

    return probability((START, *history)[1 - order :], token)


@pytest.mark.parametrize("least", [(1, 1, 1), (1, 1, 2), (1, 1, 1, 1), (1, 1, 2, 2)])
def test_against_the_textbook(least: tuple[int, ...]) -> None:
    draw = np.random.default_rng(len(least) + sum(least))
    texts = [tuple(draw.choice(3, size, p=[0.6, 0.3, 0.1]).tolist()) for size in (7, 5, 1, 6)]
    model = estimate([np.array(text) for text in texts], 4, START, least)
    for history in itertools.product(range(3), repeat=len(least) - 1):
        expected = [kneser_ney(texts, least, history, token) for token in range(4)]
        np.testing.assert_allclose(probabilities(model, list(history)), expected, rtol=1e-5)


@pytest.mark.parametrize("least", [(1, 1), (1, 1, 2), (1, 2, 2, 3), (1, 1, 1, 1, 1)])
def test_probabilities_sum_to_one(least: tuple[int, ...]) -> None:
    draw = np.random.default_rng(1)
    texts = [draw.zipf(1.5, size) % 49 for size in draw.integers(1, 80, 60)]
    model = estimate(texts, 50, 49, least)
    for text in texts[:12]:
        assert probabilities(model, text[:-1].tolist()).sum() == pytest.approx(1, abs=1e-5)
    assert probabilities(model, [48, 47, 46, 45]).sum() == pytest.approx(1, abs=1e-5)  # hardly ever seen


def test_what_was_seen_is_likelier() -> None:
    model = estimate(documents("abcabcabc", "abcabc"), 4, START, (1, 1, 1))
    assert (
        model.log_probabilities(documents("abcabc")[0]).mean() > model.log_probabilities(documents("acbacb")[0]).mean()
    )


def test_one_document_of_one_token() -> None:
    model = estimate(documents("a"), 4, START, (1, 1, 1))
    assert probabilities(model, [B, C]).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("number", [0, 1, 2, 1000])
def test_keys_are_found(number: int) -> None:
    numbers = np.arange(number) ** 2
    keys = SortedKeys(np.sort(spread(numbers)))
    asked = spread(np.arange(-5, 2000))
    places = keys.find(asked)
    expected = {int(key): place for place, key in enumerate(keys.keys)}
    assert places.tolist() == [expected.get(int(key), UNKNOWN) for key in asked]
    assert (places != UNKNOWN).sum() == min(number, 45)  # squares below 2,000


def test_spreading_loses_nothing() -> None:
    inverse = pow(int(GOLDEN), -1, 2**64)
    assert [int(key) * inverse % 2**64 for key in spread(np.array([0, 1, 7, 2**40]))] == [0, 1, 7, 2**40]
