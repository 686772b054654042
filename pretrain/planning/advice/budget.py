"""What a person can spend: GPUs for a time, FLOPs or PF-days, as model FLOPs (6 x parameters x tokens).

GPUs do more than model FLOPs: with every activation recomputed, 8 x parameters x tokens (Narayanan et al. 2021, section
5.1, equation 4: training takes 8 T P / (n X) seconds, T tokens, P parameters, n GPUs that each do X FLOP/s).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pretrain.config.errors import ConfigError

PF_DAY = 8.64e19
"""FLOPs of 1e15 a second for a day."""
A100_PEAK = 312.0
"""TFLOP/s, bf16, dense (NVIDIA's datasheet)."""
DAYS = {"h": 1 / 24, "hour": 1 / 24, "d": 1.0, "day": 1.0, "w": 7.0, "week": 7.0}

MOST_GPUS, MOST_DAYS = 1_000_000, 3650
FLOPS = (1e15, 1e30)
"""Below, there is nothing to train; the largest runs known have some 1e26."""

_NUMBER = r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)"
_GPUS = re.compile(
    r"\s*(-?[0-9][0-9_,]{0,15})\s*[x*]\s*(\S.*?)\s*[x*]\s*(-?[0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*", re.IGNORECASE
)
_FLOPS = re.compile(rf"\s*{_NUMBER}\s*(?:flops?)?\s*", re.IGNORECASE)
_PF_DAYS = re.compile(rf"\s*{_NUMBER}\s*(?:pf|pflops?|pflop/s|petaflop/s)[- ]?days?\s*", re.IGNORECASE)


class Utilisation(NamedTuple):
    """How much of their peak GPUs reach."""

    hardware: float = 140 / 312
    """All they compute / peak (HFU). Default: GPT-3's 175B on 1,024 A100s (Narayanan et al. 2021, section 5.1)."""
    recompute: bool = True
    """Of that, a quarter is the forward pass done again, as there."""

    @property
    def model(self) -> float:
        """Model FLOPs / peak (MFU)."""
        return self.hardware * (6 / 8 if self.recompute else 1)


class Gpus(NamedTuple):
    """GPUs for a time."""

    number: int
    name: str
    days: float
    peak: float
    """TFLOP/s of each."""


@dataclass(frozen=True)
class Budget:
    """What can be spent."""

    text: str
    """As it was written."""
    flops: float
    """Model FLOPs."""
    utilisation: Utilisation
    gpus: Gpus | None = None
    """Where the FLOPs come from; None when the budget is a number of them."""

    @property
    def pf_days(self) -> float:
        """The same in PF-days."""
        return self.flops / PF_DAY

    def days(self, flops: float) -> float | None:
        """How long that many take on the budget's GPUs."""
        return flops / self.flops * self.gpus.days if self.gpus else None

    def a100_days(self, flops: float) -> float:
        """How many days one A100 would take."""
        return gpu_days(flops, self.utilisation)


def gpu_days(flops: float, utilisation: Utilisation, peak: float = A100_PEAK) -> float:
    """Days of one GPU for that many model FLOPs; `peak` in TFLOP/s."""
    return flops / (peak * 1e12 * utilisation.model * 86400)


def parse_budget(text: str, peak_of: Callable[[str], float], utilisation: Utilisation | None = None) -> Budget:
    """`1024xA100x34d` (h, d, w), `1e24`, `1e24 FLOPs` or `3640 PF-days`. Raises ConfigError.

    `peak_of` gives the TFLOP/s of a GPU by its name, or raises KeyError. FLOPs and PF-days are model FLOPs.
    """
    used = utilisation or Utilisation()
    if not 0 < used.hardware <= 1:
        rule = "must be above 0 and at most 1: a share of the peak"
        raise ConfigError.of("--utilisation", used.hardware, rule, "--utilisation 0.45")
    if match := _GPUS.fullmatch(text):
        gpus = _gpus(text, match, peak_of)
        return _checked(Budget(text, gpus.number * gpus.peak * 1e12 * used.model * gpus.days * 86400, used, gpus))
    for pattern, unit in ((_FLOPS, 1.0), (_PF_DAYS, PF_DAY)):
        if match := pattern.fullmatch(text):
            return _checked(Budget(text, float(_digits(match[1])) * unit, used))
    raise _refused(text, "must be GPUs x name x time, a number of FLOPs, or PF-days")


def _gpus(text: str, match: re.Match[str], peak_of: Callable[[str], float]) -> Gpus:
    count, name, time, unit = match.groups()
    number, day = int(_digits(count)), DAYS.get(re.sub("s$", "", unit.lower()))
    if not 1 <= number <= MOST_GPUS:
        raise _refused(text, f"needs 1 to {MOST_GPUS:,} GPUs, not {number:,}")
    if day is None:
        raise _refused(text, f"has a time in {unit!r}; known are hours, days and weeks (h, d, w)")
    if not 0 < float(time) * day <= MOST_DAYS:
        raise _refused(text, f"needs a time above 0 and of at most {MOST_DAYS} days, not {time}{unit}")
    try:
        return Gpus(number, name, float(time) * day, peak_of(name))
    except KeyError:
        raise _refused(text, f"names a GPU, {name!r}, whose speed is not known") from None


def _digits(number: str) -> str:
    return re.sub("[_,]", "", number)


def _checked(budget: Budget) -> Budget:
    if not FLOPS[0] <= budget.flops <= FLOPS[1]:
        raise _refused(budget.text, f"must be {FLOPS[0]:.0e} to {FLOPS[1]:.0e} FLOPs, this is {budget.flops:.3g}")
    return budget


def _refused(text: str, rule: str) -> ConfigError:
    return ConfigError.of("--budget", text, rule, "such as 1024xA100x34d, 3.1e23 or '3640 PF-days'")
