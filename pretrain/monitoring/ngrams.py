"""Lines to beat: the validation loss of unigrams and bigrams counted on the tokens that a run trains on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]


class NgramCounts:
    """Counts of single tokens and of pairs, from windows [B, T+1] of which the last T tokens are predicted."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._single = np.zeros(vocabulary, dtype=np.int64)
        self._pairs: Counts = np.empty(0, dtype=np.int64)
        self._counts: Counts = np.empty(0, dtype=np.int64)

    def add(self, windows: Iterable[Tokens]) -> None:
        """Count the targets of all windows, and the pair that each makes with the token before it."""
        pairs = []
        for tokens in windows:
            self._single += np.bincount(tokens[:, 1:].ravel(), minlength=self._vocabulary)
            pairs.append((tokens[:, :-1].astype(np.int64) * self._vocabulary + tokens[:, 1:]).ravel())
        new, count = np.unique(np.concatenate([self._pairs, *pairs]), return_counts=True)
        count[np.searchsorted(new, self._pairs)] += self._counts - 1
        self._pairs, self._counts = new, count

    def losses(self, windows: Iterable[Tokens]) -> dict[str, float]:
        """Mean loss in nats per target token of `unigram` and `bigram` on windows [B, T+1].

        Unigrams have one added to every count. Bigrams are interpolated with them as Witten & Bell (1991) do:
        P(w | v) = (c(v, w) + d(v) P(w)) / (c(v) + d(v)), d(v) being how many different tokens followed v.
        """
        single = (self._single + 1) / (self._single.sum() + self._vocabulary)
        before = self._pairs // self._vocabulary
        followed = np.bincount(before, weights=self._counts, minlength=self._vocabulary)
        different = np.bincount(before, minlength=self._vocabulary)
        sums, tokens = np.zeros(2), 0
        for window in windows:
            first, second = window[:, :-1].ravel().astype(np.int64), window[:, 1:].ravel()
            seen = self._seen(first * self._vocabulary + second)
            total = followed[first] + different[first]
            pair = np.where(
                total > 0, (seen + different[first] * single[second]) / np.maximum(total, 1), single[second]
            )
            sums -= np.log(single[second]).sum(), np.log(pair).sum()
            tokens += len(second)
        return {"unigram": float(sums[0] / tokens), "bigram": float(sums[1] / tokens)} if tokens else {}

    def _seen(self, pairs: Counts) -> Counts:
        """How often each pair was counted."""
        place = np.minimum(np.searchsorted(self._pairs, pairs), len(self._pairs) - 1)
        return np.where(self._pairs[place] == pairs, self._counts[place], 0)
