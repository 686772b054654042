"""Where metrics go."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pretrain.config.own import Own
from pretrain.config.section import Section


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
    sinks: tuple[Own, ...] = ()
    """Sinks of your own, by import path (docs/own-parts.md)."""
