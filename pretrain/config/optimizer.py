"""How weights are updated: algorithm, learning rate against tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pretrain.config.section import Section
from pretrain.config.units import Tokens


class Optimizer(Section):
    """AdamW (Loshchilov & Hutter 2019). The defaults are GPT-3's (Brown et al. 2020, Appendix B)."""

    name: Literal["adamw"] = "adamw"
    """The algorithm."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the moments."""
    epsilon: float = Field(1e-8, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(0.1, ge=0)
    """Decoupled; on matrices and embeddings, not on biases and norms."""
    clip: float = Field(1.0, ge=0)
    """Largest global gradient norm; 0 does not clip."""


class Schedule(Section):
    """Learning rate against tokens."""

    name: Literal["cosine", "constant"] = "cosine"
    """cosine: to min_ratio of the peak (Loshchilov & Hutter 2017). constant: the peak after warm-up."""
    warmup: Tokens = Field(0, ge=0)
    """Linear from 0 to the peak over this many tokens."""
    decay: Tokens | None = Field(None, ge=1)
    """Tokens at which the decay ends; flat after. Default: train.tokens."""
    min_ratio: float = Field(0.1, ge=0, le=1)
    """Final learning rate / peak."""
