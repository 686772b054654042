"""How weights are updated: the algorithm."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pretrain.config.own import Replaceable
from pretrain.config.section import only_for

ADAM = ("adamw", "muon")
MUON = ("muon",)
ADAFACTOR = ("adafactor",)
OF_ALGORITHM = {
    "betas": ADAM,
    "epsilon": ADAM,
    "momentum": MUON,
    "nesterov": MUON,
    "ns_steps": MUON,
    "adjust_lr": MUON,
    "adamw_learning_rate": MUON,
    "beta2_decay": ADAFACTOR,
    "clip_threshold": ADAFACTOR,
    "moments": ("own",),
}
"""Fields that only some algorithms have."""


class Optimizer(Replaceable):
    """How weights are updated. The defaults of AdamW are GPT-3's (Brown et al. 2020, Appendix B)."""

    OF_OTHERS = frozenset(OF_ALGORITHM) - {"moments"}
    name: Literal["adamw", "muon", "adafactor", "own"] = "adamw"
    """adamw: Loshchilov & Hutter 2019. muon: Jordan et al. 2024 for the matrices of the blocks, AdamW for embeddings,
    head, norms and biases. adafactor: Shazeer & Stern 2018, without momentum. own: a class of
    yours, named by `class` (docs/own-parts.md)."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate. Of adafactor: relative to the size of each parameter."""
    weight_decay: float = Field(0.1, ge=0)
    """Decoupled; on matrices and embeddings, not on biases and norms."""
    clip: float = Field(1.0, ge=0)
    """Largest global gradient norm; 0 does not clip."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of AdamW's moments."""
    epsilon: float = Field(1e-8, gt=0)
    """Added to AdamW's denominator."""
    momentum: float = Field(0.95, ge=0, lt=1)
    """Decay of Muon's mean of gradients."""
    nesterov: bool = True
    """Orthogonalise where the mean goes next, not where it is."""
    ns_steps: int = Field(5, ge=1, lt=100)
    """Newton-Schulz steps of an orthogonalisation."""
    adjust_lr: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    """Muon's step on a matrix [A, B]. match_rms_adamw: learning rate x 0.2 sqrt(max(A, B)), as large as AdamW's, whose
    learning rate and weight decay it can take (Liu et al. 2025, section 2.2). original: x sqrt(max(1, A / B))."""
    adamw_learning_rate: float | None = Field(None, gt=0)
    """Peak for what AdamW updates beside Muon. Default: learning_rate."""
    beta2_decay: float = Field(-0.8, lt=0)
    """Adafactor's second moment forgets by step ^ beta2_decay."""
    clip_threshold: float = Field(1.0, gt=0)
    """Largest root mean square of Adafactor's update of a parameter, before its size."""

    moments: tuple[str, ...] | None = None
    """Of an own optimizer: what it keeps of each weight, by the names in its state; as large as the parameter. Default:
    the class's attribute `moments`."""

    @model_validator(mode="after")
    def _of_algorithm(self) -> Self:
        return only_for(self, OF_ALGORITHM, "optimizers")

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what the algorithm does not have."""
        plain = {key: value for key, value in write(self).items() if self.name in OF_ALGORITHM.get(key, (self.name,))}
        return self.unfolded(plain)

    @property
    def algorithm(self) -> str:
        """What the moments in a checkpoint mean: the name, of an own optimizer its path and the names of its moments.

        Raises ConfigError when an own one cannot be imported.
        """
        if self.own is None:
            return self.name
        moments = getattr(self.own.load("optimizer"), "moments", ()) if self.moments is None else self.moments
        return f"{self.own.path}({', '.join(moments)})"
