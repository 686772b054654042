"""The learning rate as a pure function of the tokens seen: warm-up, a course, cool-down."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from pretrain.config.own import SCHEDULE, Own
from pretrain.config.run import Run


def learning_rate(run: Run, tokens: int) -> float:
    """The learning rate of the step that brings the run to `tokens` tokens.

    Warm-up is linear from 0. The cool-down goes from where the course stands at its start (Zhai et al. 2022, section
    3.5) and ends with the run.
    """
    schedule, peak = run.schedule, run.optimizer.learning_rate
    if tokens < schedule.warmup:
        return peak * tokens / schedule.warmup
    cooldown = schedule.cooldown_of(run.train.tokens)
    start = run.train.tokens - cooldown
    ratio = COURSES[schedule.name](run, min(tokens, start) if cooldown else tokens)
    if cooldown and tokens > start:
        ratio = FALLS[schedule.cooldown_shape](ratio, schedule.cooldown_ratio, min(1.0, (tokens - start) / cooldown))
    return peak * ratio


# how a rate falls from `start` to `end`, `progress` of the way -------------------------------------------------------


def linear(start: float, end: float, progress: float) -> float:
    """In a straight line."""
    return end + (start - end) * (1 - progress)


def cosine(start: float, end: float, progress: float) -> float:
    """Half a period (Loshchilov & Hutter 2017, eq. 5)."""
    return end + (start - end) * (0.5 * (1 + math.cos(math.pi * progress)))


def sqrt(start: float, end: float, progress: float) -> float:
    """Steep at first: 1 - sqrt (Hägele et al. 2024, section 3.1)."""
    return end + (start - end) * (1 - math.sqrt(progress))


def exponential(start: float, end: float, progress: float) -> float:
    """By the same factor over equal stretches (Hu et al. 2024, section 4.2). `end` must not be 0."""
    return start * math.pow(end / start, progress)


FALLS: dict[str, Callable[[float, float, float], float]] = {
    "linear": linear,
    "cosine": cosine,
    "sqrt": sqrt,
    "exponential": exponential,
}

# the course after the warm-up: parts of the peak at `tokens` tokens --------------------------------------------------


def falling(run: Run, tokens: int) -> float:
    """cosine and linear: from the end of the warm-up to min_ratio at `decay` tokens, and flat."""
    schedule = run.schedule
    decay = schedule.decay or run.train.tokens
    progress = min(1.0, (tokens - schedule.warmup) / (decay - schedule.warmup))
    return FALLS[schedule.name](1.0, schedule.min_ratio, progress)


def inverse_sqrt(run: Run, tokens: int) -> float:
    """1 / sqrt(1 + t / timescale), t tokens after the warm-up (Zhai et al. 2022, section 3.5).

    With timescale = warmup it is sqrt(warmup / tokens): Vaswani et al. 2017, eq. 3.
    """
    schedule = run.schedule
    return 1 / math.sqrt(1 + (tokens - schedule.warmup) / (schedule.timescale or schedule.warmup))


def constant(run: Run, tokens: int) -> float:
    """The peak; with wsd until the cool-down."""
    return 1.0


def own(run: Run, tokens: int) -> float:
    """What a class of somebody's own says."""
    assert run.schedule.own is not None
    return float(_made(run.schedule.own.model_dump_json())(tokens, run.train.tokens))


@lru_cache(maxsize=8)
def _made(own: str) -> Callable[[int, int], float]:
    made: Callable[[int, int], float] = Own.model_validate_json(own).make("schedule", SCHEDULE)
    return made


COURSES: dict[str, Callable[[Run, int], float]] = {
    "cosine": falling,
    "linear": falling,
    "inverse_sqrt": inverse_sqrt,
    "constant": constant,
    "wsd": constant,
    "own": own,
}
