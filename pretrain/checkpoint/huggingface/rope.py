"""Rotary positions in config.json: their base, and how much of a head they turn."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

from pretrain.checkpoint.huggingface.architecture import Architecture, Config, wrong_key
from pretrain.config.errors import ConfigError
from pretrain.config.model import Model


class Rope(NamedTuple):
    """Under the names of our fields."""

    rope_theta: float
    rope_fraction: float


def read_rope(config: Config) -> Rope:
    """Raises ConfigError for scaled positions."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if (kind := rope.get("rope_type", rope.get("type", "default"))) != "default":
        key, rule = "rope_parameters.rope_type (rope_scaling in older files)", "must be default: positions not scaled"
        raise ConfigError([wrong_key(key, kind, rule)])
    fraction = rope.get("partial_rotary_factor", config.get("partial_rotary_factor")) or 1.0
    return Rope(float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0), float(fraction))


class PartialRope(Architecture):
    """Rotary positions on the first columns of each head, or on all of them."""

    translated: ClassVar = ("rope_theta", "rope_fraction")
    older: ClassVar[tuple[str, str]] = ("rope_theta", "partial_rotary_factor")
    """Where versions before 5 look for them."""

    def config(self, model: Model) -> Config:
        theta, fraction = model.rope_theta, _fraction(model)
        rope = {"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": fraction}
        older = dict(zip(self.older, (theta, fraction), strict=True))
        return super().config(model) | {"rope_parameters": rope} | older

    def fields(self, config: Config) -> Config:
        return super().fields(config) | read_rope(config)._asdict()


def _fraction(model: Model) -> float:
    """One from which transformers, which rounds down where we round, has as many columns: 0.58 x 100 is 57.99999."""
    width, head = model.rope_width, model.head_width
    above = math.nextafter(width / head, 1)
    return model.rope_fraction if int(model.rope_fraction * head) == width else above
