"""What counts as a spike of the loss or of the gradient norm, and what is done about it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pretrain.config.section import Section

Policy = Literal["record", "skip", "rollback", "stop"]


class Rollback(Section):
    """How far a rollback goes (PaLM: about 100 steps back, 200 to 500 batches left out; Chowdhery et al. 2022, 5.1)."""

    checkpoints: int = Field(1, ge=1)
    """Which checkpoint to go back to: 1 is the newest, 2 the one before; the oldest when there are fewer."""
    before: int = Field(100, ge=0)
    """Batches before the spike that are left out with it, as far as they come after that checkpoint."""
    after: int = Field(100, ge=0)
    """Batches after the spike that are left out with it."""


class Spikes(Section):
    """Steps whose loss or gradient norm is far above those before, or no number. Judged before the weights change."""

    spike: Policy = "record"
    """record: tell and go on. skip: leave the update out. rollback: to a checkpoint, without these batches. stop."""
    nan: Literal["skip", "rollback", "stop"] = "stop"
    """The same for a loss or gradient that is no number, with which no weight can be updated."""
    loss: float = Field(6.0, gt=0)
    """Modified z-score of the loss above which a step is a spike."""
    grad_norm: float = Field(10.0, gt=0)
    """Modified z-score of the gradient norm above which a step is a spike."""
    window: int = Field(128, ge=8, le=10_000)
    """Steps that a step is compared with: the last ones that were no spikes."""
    warmup: int = Field(100, ge=8)
    """Steps that must be in the window before any is called a spike."""
    patience: int = Field(32, ge=1)
    """So many spikes in a row are a new level, not a spike: the window starts over."""
    limit: int = Field(10, ge=0)
    """Updates left out and rollbacks of the whole run, together; the next one stops it."""
    rollback: Rollback = Rollback()
    """Where a rollback goes to and what it leaves out."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warmup > self.window:
            raise ValueError(
                f"warmup ({self.warmup}) must not exceed window ({self.window}): it would never be reached"
                f"; fix: warmup: {self.window}"
            )
        return self
