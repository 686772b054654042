"""Number formats, and the loss scale that fp16 needs."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pretrain.config.section import Section

Format = Literal["fp32", "bf16", "fp16"]


class LossScale(Section):
    """Dynamic loss scale (Micikevicius et al. 2018, section 3.2). The defaults are DeepSpeed's."""

    initial: float = 2.0**16
    """Of the first step. Too high a scale falls by itself: each halving costs the update of a step."""
    window: int = Field(1000, ge=1)
    """Steps in a row without overflow after which it doubles."""
    hysteresis: int = Field(2, ge=1)
    """Overflows that it takes to halve it the first time after it doubled; then each one halves it."""
    minimum: float = 1.0
    """It falls no lower: overflows in a row there stop the run."""

    @field_validator("initial", "minimum")
    @classmethod
    def _power_of_two(cls, value: float) -> float:
        if not 2.0**-24 <= value <= 2.0**64 or math.frexp(value)[0] != 0.5:
            near = 2.0 ** round(math.log2(value)) if 2.0**-24 <= value <= 2.0**64 else 2.0**16
            raise ValueError(f"must be a power of two from 2^-24 to 2^64, which rounds nothing; fix: {near:.15g}")
        return value

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.minimum > self.initial:
            raise ValueError(f"minimum ({self.minimum:g}) must not exceed initial ({self.initial:g}); fix: minimum: 1")
        return self


class Precision(Section):
    """Number formats."""

    compute: Format = "bf16"
    """Of weights and activations in forward and backward; master weights, optimizer and loss are fp32."""
    loss_scale: LossScale | None = None
    """fp16 only: what the loss is multiplied with, so that small gradients do not vanish. None: the defaults."""

    @model_validator(mode="after")
    def _fp16_only(self) -> Self:
        if self.loss_scale and self.compute != "fp16":
            raise ValueError(
                f"loss_scale is for fp16, this is {self.compute}, whose range needs none"
                "; fix: leave loss_scale out, or compute: fp16"
            )
        return self

    @property
    def scaling(self) -> LossScale | None:
        """How the loss is scaled; None where it is not."""
        return (self.loss_scale or LossScale()) if self.compute == "fp16" else None
