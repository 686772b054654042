"""How weights are updated: algorithm and number formats."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pretrain.config.section import Section


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


class Precision(Section):
    """Number formats."""

    compute: Literal["fp32", "bf16"] = "bf16"
    """Of weights and activations in forward and backward; master weights, optimizer and loss are fp32."""
