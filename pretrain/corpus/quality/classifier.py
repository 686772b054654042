"""The classifier of GPT-3's filter (Brown et al. 2020, Appendix A): logistic regression over hashed words.

As there, words are what stands between spaces, in lower case, and hashed to a fixed number of features. Unlike Spark's
HashingTF a word counts once, and documents have length 1, so that long ones do not get extreme scores.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pretrain.corpus.quality.saved import about, save, tensors

FEATURES = 2**18
"""As many as Spark's HashingTF has."""
INVERSE_REGULARIZATION = 10.0
CACHED = 2**18
"""Words whose coefficients are at hand: up to about 40 MB."""
Floats = npt.NDArray[np.float32]


class Classifier:
    """Scores texts between 0 (raw) and 1 (good)."""

    def __init__(self, coefficients: Floats, intercept: float) -> None:
        self.coefficients, self.intercept = coefficients, intercept
        values = coefficients.tolist()
        # The hash of scikit-learn's HashingVectorizer costs 0.5 ms a text of 300 bytes, this 0.03.
        self._coefficient = lru_cache(CACHED)(lambda word: values[_feature(word)])

    def score(self, text: str) -> float:
        """The probability that a text is good, where both kinds are equally common."""
        words = _words(text)
        margin = self.intercept + sum(map(self._coefficient, words)) / math.sqrt(len(words) or 1)
        return (1 + math.tanh(margin / 2)) / 2

    def save(self, directory: Path, told: dict[str, Any]) -> str:
        """Write it and return its fingerprint."""
        settings = {"features": FEATURES, "hash": "crc32", "words": "lower case, between spaces", "counts": "once"}
        settings |= {"inverse_regularization": INVERSE_REGULARIZATION, "intercept": self.intercept}
        return save(directory, "classifier", settings, {"coefficients": self.coefficients}, told)

    @classmethod
    def load(cls, path: str) -> Classifier:
        """Read one. Raises ConfigError."""
        settings = about(path, "classifier")["settings"]
        return cls(tensors(path)["coefficients"], settings["intercept"])

    @classmethod
    def train(cls, texts: Sequence[str], good: Sequence[bool], weights: Sequence[float]) -> Classifier:
        """Fit one to weighted texts. The same texts in the same order give the same classifier."""
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        rows = [_words(text) for text in texts]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        columns = np.fromiter((_feature(word) for row in rows for word in row), np.int32, int(lengths.sum()))
        values = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths)
        ends = np.concatenate([[0], np.cumsum(lengths)])
        features = csr_matrix((values, columns, ends), shape=(len(rows), FEATURES))
        features.sum_duplicates()
        model = LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=1000)
        with threadpool_limits(1):  # the order of sums depends on the number of threads
            model.fit(features, np.array(good), sample_weight=np.array(weights) * len(rows))
        return cls(model.coef_[0].astype(np.float32), float(model.intercept_[0]))


def _words(text: str) -> dict[str, None]:
    """Different words, in order: sums of floats depend on it."""
    return dict.fromkeys(text.lower().split())


def _feature(word: str) -> int:
    return zlib.crc32(word.encode()) % FEATURES
