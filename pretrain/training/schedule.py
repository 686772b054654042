"""The learning rate as a pure function of the tokens seen."""

from __future__ import annotations

import math

from pretrain.config.run import Run


def learning_rate(run: Run, tokens: int) -> float:
    """The learning rate of the step that brings the run to `tokens` tokens.

    Warm-up is linear from 0; the cosine (Loshchilov & Hutter 2017, eq. 5) falls from the peak at the end of the warm-up
    to min_ratio of it at `decay` tokens and stays there.
    """
    schedule, peak = run.schedule, run.optimizer.learning_rate
    if tokens < schedule.warmup:
        return peak * tokens / schedule.warmup
    if schedule.name == "constant":
        return peak
    decay = schedule.decay or run.train.tokens
    progress = min(1.0, (tokens - schedule.warmup) / (decay - schedule.warmup))
    ratio = schedule.min_ratio + (1 - schedule.min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))
    return peak * ratio
