"""The fields of a model as two models are compared by them."""

from __future__ import annotations

from typing import Any

from pretrain.config.model import Model

UNRELATED = ("preset", "vocab_multiple", "attention", "dropout")
"""Fields that say nothing about the function that the weights compute."""


def resolved(model: Model) -> dict[str, Any]:
    """All fields as plain data; those that follow from others are filled in."""
    widths = {"kv_heads": model.key_heads, "d_head": model.head_width, "d_ff": model.mlp_width}
    return model.plain() | widths


def neutral(model: Model, field: str) -> Any:
    """What `field` would be if nobody had said anything about it."""
    default = type(model).model_fields[field].default
    return resolved(model.model_copy(update={field: default}))[field]
