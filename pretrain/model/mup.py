"""A model trained with muP written as one without: the same logits, muP's multipliers moved into the weights.

For programs that do not know muP. Training on from there would use other learning rates.
"""

from __future__ import annotations

from torch import Tensor

from pretrain.config.model import Model


def without_mup(config: Model) -> Model:
    """The model that `folded` weights are for."""
    return config.model_copy(update={"mup": None})


def folded(config: Model, name: str, value: Tensor) -> Tensor:
    """What the parameter with this canonical name is in that model; `value` is whole.

    A tied table stands at both ends: what it gains as the embedding, the final norm loses before the head.
    """
    if name.startswith("embedding."):
        return value * config.embedding_scale
    if name.startswith("head.norm."):
        return value * (config.logit_scale / (config.embedding_scale if config.tied_embeddings else 1))
    if name.endswith("attention.q_norm.weight"):
        return value * config.score_scale
    if ".attention.qkv." in name and not config.qk_norm:
        value = value.clone()
        value[: config.heads * config.head_width] *= config.score_scale  # queries come first
    return value
