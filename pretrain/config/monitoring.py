"""Where metrics go."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from pretrain.config.alerts import Alert, Webhook
from pretrain.config.own import Own
from pretrain.config.section import Section
from pretrain.config.units import Every, Interval


class WandB(Section):
    """Weights & Biases. The API key comes from `wandb login`, never from here."""

    mode: Literal["online", "offline", "disabled"] = "disabled"
    """offline: records in the run directory, for `wandb sync` and `wandb leet`."""
    project: str = "pretrain"
    """Project name."""
    entity: str | None = None
    """Team or user."""
    group: str | None = None
    """Group of runs."""
    tags: tuple[str, ...] = ()
    """Tags of the run."""


class Inside(Section):
    """Norms of every part of the model, attention entropy and the gradient noise scale (docs/inside.md)."""

    every: Every
    """Between two steps that are looked into, in steps or tokens. The steps between cost nothing."""
    noise_decay: float = Field(0.9, ge=0, lt=1)
    """Weight of what was before, at each look, in the two averages behind the noise scale."""

    @field_validator("every")
    @classmethod
    def _not_by_the_clock(cls, every: Interval) -> Interval:
        if every.unit == "seconds":
            raise ValueError("must be in steps or tokens, for all ranks look together; fix: every: 100 steps")
        return every


class Monitoring(Section):
    """Where metrics go. metrics.jsonl is always written."""

    log_every: int = Field(1, ge=1)
    """Steps between two rows of the training metrics."""
    terminal: Literal["auto", "rich", "plain", "none"] = "auto"
    """auto: a live view on a terminal, plain lines elsewhere."""
    tensorboard: bool = True
    """Write tensorboard/ in the run directory."""
    wandb: WandB = WandB()
    """Weights & Biases."""
    peak_tflops: float | None = Field(None, gt=0)
    """Peak of one device for MFU, in 1e12 FLOP/s. Default: a table by GPU name; on a CPU a measured matmul."""
    inside: Inside | None = None
    """Look inside the model now and then. None: never."""
    alerts: tuple[Alert, ...] = ()
    """Rules by which somebody is told: in the terminal and metrics.jsonl, by W&B where it is on, by the webhook."""
    webhook: Webhook | None = None
    """Where alerts are posted, too."""
    sinks: tuple[Own, ...] = ()
    """Sinks of your own, by import path (docs/own-parts.md)."""
