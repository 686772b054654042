"""When somebody is told about a run, and where."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pretrain.config.section import Section
from pretrain.config.units import Seconds

Happening = Literal["spike", "rollback", "checkpoint_failed", "ended"]
"""spike: of the loss or the gradient norm, or one that is no number. ended: for whatever reason, finished too."""


class Alert(Section):
    """A number that leaves its bounds (`metric` with `above` or `below`), or something that happens (`event`)."""

    metric: str | None = None
    """Its name as in W&B: loss, loss/wiki, validation/loss, inside/activation_max/blocks.*; * stands for anything."""
    above: float | None = Field(None, allow_inf_nan=False)
    """Tell when it is above this."""
    below: float | None = Field(None, allow_inf_nan=False)
    """Tell when it is below this."""
    average_over: int | None = Field(None, ge=2, le=100_000)
    """The bounds are multiples of the mean of so many rows before: with `above: 1.5`, half as much again."""
    for_steps: int = Field(1, ge=1)
    """It must have been so in every row over this many steps."""
    event: tuple[Happening, ...] = ()
    """What must happen instead. Not called `on`, which is true in YAML."""
    at_most_every: Seconds = Field(600.0, ge=0)
    """Least time between two alerts of a rule about the same. One that goes on is told once, until it clears."""

    @field_validator("event", mode="before")
    @classmethod
    def _one(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        bounds = [bound for bound in (self.above, self.below) if bound is not None]
        if (self.metric is None) == (not self.event):
            raise ValueError("needs either `metric` or `event`; fix: {metric: loss, above: 10} or {event: ended}")
        if self.metric is not None and not bounds:
            raise ValueError(f"needs a bound for {self.metric}; fix: add `above:` or `below:`")
        if self.event and (bounds or self.average_over or self.for_steps > 1):
            raise ValueError("bounds need a `metric`; fix: write two rules")
        return self

    @property
    def title(self) -> str:
        """The rule in a few words."""
        if self.event:
            return " or ".join(self.event).replace("_", " ")
        unit = f" times its mean of {self.average_over} rows" if self.average_over else ""
        bounds = [f"{word} {b:g}{unit}" for word, b in (("above", self.above), ("below", self.below)) if b is not None]
        steps = f" for {self.for_steps} steps" if self.for_steps > 1 else ""
        return f"{self.metric} {' or '.join(bounds)}{steps}"


class Webhook(Section):
    """An address to which alerts are posted as JSON. The address is a secret: the YAML says only where it is found."""

    url_file: str | None = None
    """A file that holds the address and nothing else."""
    url_env: str | None = None
    """An environment variable that holds it."""
    timeout: Seconds = Field(10.0, gt=0, le=60)
    """Until an answer must be there."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.url_file is None) == (self.url_env is None):
            raise ValueError("needs either `url_file` or `url_env`; fix: url_file: ~/.config/alerts.url")
        return self
