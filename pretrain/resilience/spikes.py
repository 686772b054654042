"""Is this step a spike? A pure function of the steps before it, so that every rank and every restart says the same.

The modified z-score of Iglewicz & Hoaglin (1993, eq. 3.12): with the median m of the window and the median absolute
deviation MAD = median(|x_i - m|),

    z = 0.6745 (x - m) / MAD.

It is one-sided: a loss that falls is no spike. Should more than half of the window be equal (MAD = 0), the mean
absolute deviation takes its place: z = (x - m) / (1.253314 mean(|x_i - m|)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, median
from typing import Any, Literal

from pretrain.config.precision import LossScale as Scaling
from pretrain.config.spikes import Policy, Spikes
from pretrain.resilience.loss_scale import LossScale

Quantity = Literal["loss", "grad_norm"]
WORDS: dict[Quantity, str] = {"loss": "the loss", "grad_norm": "the gradient norm"}


@dataclass(frozen=True)
class History:
    """What judging a step depends on besides the step itself; kept in every checkpoint."""

    losses: tuple[float, ...] = ()
    """Of the last steps that were no spikes, oldest first, in nats."""
    norms: tuple[float, ...] = ()
    """Their gradient norms before clipping."""
    in_a_row: int = 0
    """Spikes since the last step that was none."""
    left_out: int = 0
    """Steps of the run whose update was left out."""
    rollbacks: int = 0
    """Rollbacks of the run."""
    scale: LossScale | None = None
    """Of the next step; None until the run has been in fp16."""

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> History:
        """What `plain` returned, also after JSON; of an empty dictionary the start of a run."""
        values = {**cls().plain(), **plain}
        values |= {"losses": tuple(values["losses"]), "norms": tuple(values["norms"])}
        return cls(**values | {"scale": LossScale.from_plain(values["scale"])})

    def scale_under(self, config: Scaling) -> LossScale:
        """The loss scale of the next step."""
        return self.scale or LossScale.begin(config)


@dataclass(frozen=True)
class Finding:
    """What is wrong with a step."""

    quantity: Quantity
    value: float
    z: float | None = None
    """Modified z-score; None where the value is no number."""
    middle: float | None = None
    """Median of the window."""
    window: int = 0
    """Steps in it."""

    @property
    def is_number(self) -> bool:
        """False for NaN and infinity."""
        return self.z is not None

    def __str__(self) -> str:
        if self.z is None:
            return f"{WORDS[self.quantity]} is {self.value}"
        return (
            f"{WORDS[self.quantity]} is {self.value:.4g}, a spike: z-score {self.z:.1f} against the last {self.window} "
            f"steps (median {self.middle:.4g})"
        )

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it: numbers that are none as text."""
        row = asdict(self)
        return {key: str(v) if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}


@dataclass(frozen=True)
class Verdict:
    """What to do about a step, and what to remember of it."""

    history: History
    """After the step."""
    finding: Finding | None = None
    """None: nothing is wrong."""
    action: Policy = "record"
    """What is done about the finding."""
    note: str = ""
    """Why it is another action than the configured one."""
    loss_scale: float | None = None
    """Of this step, in fp16."""
    overflow: bool = False
    """The gradient was too large for fp16 with this scale: no spike, and no fault unless nothing smaller is left."""

    @property
    def updates(self) -> bool:
        """Whether the weights are updated."""
        return not self.overflow and (self.finding is None or self.action == "record")


def z_score(value: float, window: Sequence[float]) -> float:
    """Modified z-score of `value` against `window`. Infinite above a window of equal numbers."""
    middle = median(window)
    deviations = [abs(past - middle) for past in window]
    if (mad := median(deviations)) > 0:
        return 0.6745 * (value - middle) / mad
    if (mean := fmean(deviations)) > 0:
        return (value - middle) / (1.253314 * mean)
    return math.inf if value > middle else 0.0


def find(history: History, loss: float, norm: float, config: Spikes) -> Finding | None:
    """What is wrong with a step of this loss (nats) and gradient norm."""
    values: tuple[tuple[Quantity, float, tuple[float, ...], float], ...] = (
        ("loss", loss, history.losses, config.loss),
        ("grad_norm", norm, history.norms, config.grad_norm),
    )
    for quantity, value, _, _ in values:
        if not math.isfinite(value):
            return Finding(quantity, value)
    for quantity, value, past, limit in values:
        if len(past) >= config.warmup and (z := z_score(value, past)) > limit:
            return Finding(quantity, value, z, median(past), len(past))
    return None


def judge(history: History, loss: float, norm: float, config: Spikes, scaling: Scaling | None = None) -> Verdict:
    """The verdict on a step.

    With `scaling` (fp16) a loss that is a number with a gradient that is none is an overflow: its update is left out
    and the scale falls; where it cannot any more, the run stops.
    """
    if scaling is None:
        return _judge(history, loss, norm, config)
    scale, overflow = history.scale_under(scaling), math.isfinite(loss) and not math.isfinite(norm)
    if not overflow:
        verdict = _judge(history, loss, norm, config)
    elif scale.is_exhausted(scaling):
        verdict = Verdict(history, Finding("grad_norm", norm), "stop")
    else:
        verdict = Verdict(history)
    after = scale.after(overflow, scaling) if overflow or verdict.finding is None else scale
    return replace(verdict, history=replace(verdict.history, scale=after), loss_scale=scale.value, overflow=overflow)


def _judge(history: History, loss: float, norm: float, config: Spikes) -> Verdict:
    """After the limit of updates left out and rollbacks, the next one stops the run."""
    finding = find(history, loss, norm, config)
    if finding is None:
        losses, norms = (*history.losses, loss)[-config.window :], (*history.norms, norm)[-config.window :]
        return Verdict(replace(history, losses=losses, norms=norms, in_a_row=0))
    action: Policy = config.spike if finding.is_number else config.nan
    note = ""
    if action in ("skip", "rollback") and history.left_out + history.rollbacks >= config.limit:
        action, note = "stop", f"resilience.spikes.limit, {config.limit} times, is reached"
    after = _after_spike(history, config) if finding.is_number else history
    return Verdict(replace(after, left_out=after.left_out + (action == "skip")), finding, action, note)


def _after_spike(history: History, config: Spikes) -> History:
    """The spike stays out of the window; a new level begins a new window."""
    if history.in_a_row + 1 >= config.patience:
        return replace(history, losses=(), norms=(), in_a_row=0)
    return replace(history, in_a_row=history.in_a_row + 1)
