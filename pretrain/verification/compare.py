"""A layout's numbers against those of one process: how far apart, and whether that is more than rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretrain.config.precision import Format
from pretrain.verification.result import Floats, Result

FLOOR = 1e-6
"""A gradient that vanishes is measured by this part of the largest entry of all gradients: rounding is not a bug."""


@dataclass(frozen=True)
class Tolerance:
    """The largest differences that pass."""

    loss: float
    """Absolute, nats."""
    norm: float
    """Relative."""
    gradient: float
    """Relative to the parameter's largest entry."""


FP32 = Tolerance(loss=1e-5, norm=1e-4, gradient=1e-4)
"""Sums in another order."""
BF16 = Tolerance(loss=3e-3, norm=3e-2, gradient=1e-1)
"""Sums in another order, of terms that have 8 bits."""
FP16 = Tolerance(BF16.loss / 8, BF16.norm / 8, BF16.gradient / 8)
"""11 bits."""
TOLERANCE: dict[Format, Tolerance] = {"fp32": FP32, "bf16": BF16, "fp16": FP16}


@dataclass(frozen=True)
class Verdict:
    """How one layout compares. Differences are the largest over all ranks and steps."""

    loss: float
    """Of the loss, nats."""
    norm: float
    """Of the gradient norm, relative."""
    gradients: dict[str, float]
    """Of each parameter's gradient in the first step, relative to its largest entry; in the order of the layers."""
    first_step: int | None
    """The first step, from 1, whose loss or norm differs by more than the tolerance."""
    first_parameter: str | None
    """The first parameter, in the order of the layers, whose gradient does."""

    @property
    def passed(self) -> bool:
        """Whether nothing differs by more than the tolerance."""
        return self.first_step is None and self.first_parameter is None

    @property
    def worst_parameter(self) -> str:
        """Whose gradient differs most."""
        return max(self.gradients, key=lambda name: _or_infinity(self.gradients[name]))

    @property
    def gradient(self) -> float:
        """The largest of `gradients`."""
        return self.gradients[self.worst_parameter]


def compare(reference: Result, result: Result, tolerance: Tolerance) -> Verdict:
    """The verdict on `result`. A number that is not finite differs by more than any tolerance."""
    losses = np.abs(result.losses - reference.losses[:1]).max(axis=0)
    norms = (np.abs(result.norms - reference.norms[:1]) / reference.norms[:1]).max(axis=0)
    gradients = gradient_differences(reference, result)
    return Verdict(
        loss=float(losses.max()),
        norm=float(norms.max()),
        gradients=gradients,
        first_step=_first_step(losses, norms, tolerance),
        first_parameter=next((name for name, far in gradients.items() if not far <= tolerance.gradient), None),
    )


def gradient_differences(reference: Result, result: Result) -> dict[str, float]:
    """max |g - r| / max |r| of each parameter's gradient g, r being the reference's.

    An entry's own size would be no measure: entries near zero are sums of large terms that cancel, and their rounding
    errors are those of the terms.
    """
    largest = {name: float(np.abs(gradient).max()) for name, gradient in reference.gradients.items()}
    floor = FLOOR * max(largest.values())
    return {
        name: float(np.abs(result.gradients[name] - gradient).max()) / max(largest[name], floor)
        for name, gradient in reference.gradients.items()
    }


def _first_step(losses: Floats, norms: Floats, tolerance: Tolerance) -> int | None:
    differs = ~((losses <= tolerance.loss) & (norms <= tolerance.norm))  # also where it is not a number
    return int(differs.argmax()) + 1 if differs.any() else None


def _or_infinity(value: float) -> float:
    return value if np.isfinite(value) else np.inf
