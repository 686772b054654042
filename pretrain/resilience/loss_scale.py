"""The dynamic loss scale of fp16 (Micikevicius et al. 2018, section 3.2) as a pure function of the overflows so far.

fp16 holds numbers from 6e-8 to 65,504. The loss is multiplied by the scale, so all gradients are; before the update
they are divided by it in fp32. Where a scaled gradient is too large, the step is left out and the scale is halved;
after a window of steps without overflow it is doubled. The rule is Megatron-LM's, hysteresis included.

DeepSpeed's own scale is not used: it doubles between the backward pass and the division, which makes that update half
as large, counts otherwise in each optimizer, and is not in a checkpoint that another layout reads.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from pretrain.config.precision import LossScale as Config


@dataclass(frozen=True)
class LossScale:
    """Where the scale stands before a step; kept in every checkpoint."""

    value: float
    good: int = 0
    """Steps without overflow since the last one with it, or since the scale doubled."""
    hysteresis: int = 1
    """Overflows until the scale is halved."""
    overflows: int = 0
    """Of the whole run: steps whose update was left out."""

    @classmethod
    def begin(cls, config: Config) -> Self:
        """Before the first step."""
        return cls(config.initial, hysteresis=config.hysteresis)

    @classmethod
    def from_plain(cls, plain: dict[str, Any] | None) -> Self | None:
        """What `plain` returned, also after JSON."""
        return None if plain is None else cls(**plain)

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    def after(self, overflow: bool, config: Config) -> LossScale:
        """The scale of the step after this one."""
        if overflow:
            left = max(1, self.hysteresis - 1)
            halved = max(config.minimum, self.value / 2) if self.hysteresis == 1 else self.value
            return replace(self, value=halved, good=0, hysteresis=left, overflows=self.overflows + 1)
        if self.good + 1 == config.window:
            return replace(self, value=self.value * 2, good=0, hysteresis=config.hysteresis)
        return replace(self, good=self.good + 1)

    def is_exhausted(self, config: Config) -> bool:
        """Whether an overflow now is one of several in a row that no smaller scale can end."""
        in_a_row = self.overflows > 0 and self.good == 0
        return in_a_row and self.hysteresis == 1 and self.value <= config.minimum
