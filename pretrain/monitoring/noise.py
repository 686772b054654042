"""The gradient noise scale (McCandlish et al. 2018): how large a batch may be before its samples tell the same.

The gradient of the mean loss over B tokens is on average G, and its squared norm |G|^2 + tr(S) / B, where S is the
covariance of the gradient of one token. Two batch sizes give two equations (Appendix A.1): here those of the
micro-batches, before their sum, and of the whole batch. The noise scale tr(S) / |G|^2, in tokens, is about the batch
beyond which more data rank make training cheaper in steps but dearer in tokens (section 2.2, B_simple there).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Gradients(NamedTuple):
    """Squared norms of one batch's gradient and of its parts, which are added up to it."""

    whole: float
    """Of the gradient of the mean loss over all tokens."""
    parts: float
    """Sum over the parts of the squared norm of what each adds to that gradient."""
    tokens: float
    """Target tokens of the batch."""
    squares: float
    """Sum over the parts of their tokens squared."""


class Estimate(NamedTuple):
    """Unbiased estimates from one batch. Either may come out negative."""

    signal: float
    """|G|^2."""
    variance: float
    """tr(S) of one token."""


def estimate(found: Gradients) -> Estimate | None:
    """Signal and variance; None of one part alone, which has nothing to be compared with.

    For equal parts these are the two estimators of McCandlish et al. 2018, Appendix A.1. Where parts have unequal
    numbers of tokens t, the sum of |t g|^2 is on average |G|^2 sum(t^2) + tr(S) sum(t), which is solved here.
    """
    size = found.squares / found.tokens if found.tokens else 0.0
    if size >= found.tokens:
        return None
    part, whole = found.tokens * found.parts, found.tokens * found.whole
    signal = (whole - part) / (found.tokens - size)
    return Estimate(signal, part - signal * size)


@dataclass
class Smoothed:
    """Exponential averages of both, whose ratio is taken last: a mean of ratios would be biased (Appendix A.1)."""

    decay: float
    """Weight of what was, at each estimate."""
    signal: float = 0.0
    variance: float = 0.0

    def add(self, one: Estimate) -> None:
        """Take one more. Both averages start at 0: in their ratio that cancels."""
        self.signal = self.decay * self.signal + (1 - self.decay) * one.signal
        self.variance = self.decay * self.variance + (1 - self.decay) * one.variance

    @classmethod
    def of(cls, decay: float, estimates: Iterable[Estimate]) -> Smoothed:
        """The averages after these."""
        smoothed = cls(decay)
        for one in estimates:
            smoothed.add(one)
        return smoothed

    @property
    def scale(self) -> float | None:
        """The noise scale in tokens; None while the noise hides the signal, or the other way round."""
        return self.variance / self.signal if self.signal > 0 and self.variance > 0 else None
