"""The learning rate against tokens: warm-up, a course, cool-down."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pretrain.config.own import Replaceable
from pretrain.config.section import only_for
from pretrain.config.units import Tokens

FALLING = ("cosine", "linear")
"""Courses that end at min_ratio."""
OF_COURSE = {"decay": FALLING, "min_ratio": FALLING, "timescale": ("inverse_sqrt",)}
"""Fields that only some courses have."""


class Schedule(Replaceable):
    """Learning rate against tokens."""

    OF_OTHERS = frozenset(OF_COURSE)
    name: Literal["cosine", "linear", "inverse_sqrt", "constant", "wsd", "own"] = "cosine"
    """The course after the warm-up. cosine: to min_ratio of the peak (Loshchilov & Hutter 2017). linear: the same in a
    straight line. inverse_sqrt: as 1 / sqrt(tokens) (Vaswani et al. 2017, section 5.3). constant: the peak. wsd: the
    peak and then a cool-down (warm-up, stable, decay: Hu et al. 2024). own: a class of yours, named by `class`
    (docs/own-parts.md)."""
    warmup: Tokens = Field(0, ge=0)
    """Linear from 0 to the peak over this many tokens."""
    decay: Tokens | None = Field(None, ge=1)
    """Tokens at which cosine and linear end; flat after. Default: train.tokens."""
    min_ratio: float = Field(0.1, ge=0, le=1)
    """Where cosine and linear end / peak."""
    timescale: Tokens | None = Field(None, ge=1)
    """Of inverse_sqrt: peak / sqrt(1 + tokens since the warm-up / timescale) (Zhai et al. 2022, section 3.5). Default:
    warmup, which is the curve of Vaswani et al."""
    cooldown: Tokens | None = Field(None, ge=0)
    """The last tokens of the run, over which the learning rate goes to cooldown_ratio of the peak from where the course
    stands. Default: none; with wsd a tenth of train.tokens."""
    cooldown_shape: Literal["linear", "sqrt", "cosine", "exponential"] = "linear"
    """How it falls. sqrt: 1 - sqrt (Hägele et al. 2024, section 3.1)."""
    cooldown_ratio: float = Field(0.0, ge=0, lt=1)
    """Learning rate at the end of the cool-down / peak."""

    @model_validator(mode="after")
    def _of_course(self) -> Self:
        return only_for(self, OF_COURSE, "schedules")

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what the course does not have."""
        plain = {key: value for key, value in write(self).items() if self.name in OF_COURSE.get(key, (self.name,))}
        return self.unfolded(plain)

    def cooldown_of(self, tokens: int) -> int:
        """Tokens of the cool-down of a run of `tokens` tokens."""
        return (tokens // 10 if self.name == "wsd" else 0) if self.cooldown is None else self.cooldown
