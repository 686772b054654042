"""GPT-3's filter (Brown et al. 2020, Appendix A): the better a document scores, the surer it is kept."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pretrain.config.clean import Classifier as Config
from pretrain.corpus.clean import Dropped, Rule, Tallies
from pretrain.corpus.quality.classifier import Classifier
from pretrain.corpus.quality.saved import about

ALPHA = 9.0
"""The paper's."""
Scores = TypeVar("Scores", float, npt.NDArray[np.float64])


def classifier(config: Config, tallies: Tallies) -> Rule:
    """Keeps a document when np.random.pareto(alpha) > 1 - score; the random number is the hash of its text."""
    model = _model(config.path, about(config.path, "classifier")["fingerprint"])
    counts = tallies["classifier_score"]

    def rule(text: str) -> str | Dropped:
        score = model.score(text)
        counts[f"{min(int(score * 10), 9) / 10:.1f}"] += 1
        return text if _uniform(text) < kept_share(score, config.alpha) else Dropped("alpha")

    return rule


def kept_share(score: Scores, alpha: float) -> Scores:
    """The probability that pareto(alpha), which exceeds x with (1 + x)^-alpha, exceeds 1 - score."""
    share: Scores = (2 - score) ** -alpha
    return share


def _uniform(text: str) -> float:
    """A number in [0, 1) that depends on the text alone, and not on the hashes that order and hold out documents."""
    digest = hashlib.blake2b(text.encode(), digest_size=8, person=b"classifier").digest()
    return int.from_bytes(digest) / 2**64


@lru_cache(maxsize=2)
def _model(path: str, fingerprint: str) -> Classifier:
    return Classifier.load(path)
