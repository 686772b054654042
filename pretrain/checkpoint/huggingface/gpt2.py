"""GPT2LMHeadModel (Radford et al. 2019): learned positions, LayerNorm, GELU.

A model without biases is written with biases of zero, and `bias: false` in config.json, which transformers ignores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from pretrain.checkpoint.huggingface.architecture import Architecture
from pretrain.checkpoint.huggingface.match import Match, same, transposed, zero_bias
from pretrain.config.model import Model

Kind = Callable[[str, str], Match]
GELU = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
"""Their word -> ours."""


class GPT2(Architecture):
    """Dense attention, as many key heads as heads, heads that make up d_model."""

    name = "GPT2LMHeadModel"
    model_type = "gpt2"
    base = "transformer."
    keys: ClassVar = {
        "n_layer": "layers",
        "n_embd": "d_model",
        "n_head": "heads",
        "n_inner": "d_ff",
        "n_positions": "context",
        "vocab_size": "vocab_size",
        "layer_norm_epsilon": "norm_epsilon",
        "initializer_range": "init_std",
        "tie_word_embeddings": "tied_embeddings",
        "bias": "bias",
    }
    words: ClassVar = {"activation_function": ("activation", GELU)}
    holds: ClassVar = {"positions": "learned", "norm": "layernorm"}
    fixed: ClassVar = {
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    }
    translated = ("rope_theta",)
    """No part of a model without rotary positions."""
    dropouts = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
    buffers = (".attn.bias", ".attn.masked_bias")

    norms: ClassVar = {"attention_norm": "ln_1", "mlp_norm": "ln_2"}
    matrices: ClassVar = {
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    }

    def matches(self, model: Model) -> Iterator[Match]:
        yield same("embedding.tokens.weight", "transformer.wte.weight")
        yield same("embedding.positions.weight", "transformer.wpe.weight")
        for layer in range(model.layers):
            for ours, theirs in self.norms.items():
                yield from with_bias(same, model, f"blocks.{layer}.{ours}", f"transformer.h.{layer}.{theirs}")
            for ours, theirs in self.matrices.items():
                yield from with_bias(transposed, model, f"blocks.{layer}.{ours}", f"transformer.h.{layer}.{theirs}")
        yield from with_bias(same, model, "head.norm", "transformer.ln_f")
        if not model.tied_embeddings:
            yield same("head.weight", "lm_head.weight")


def with_bias(weight: Kind, model: Model, ours: str, theirs: str, bias: Kind = same) -> Iterator[Match]:
    """Weight and bias of a layer that always has a bias there."""
    match = weight(f"{ours}.weight", f"{theirs}.weight")
    if model.bias:
        yield match
        yield bias(f"{ours}.bias", f"{theirs}.bias")
    else:
        yield zero_bias(match, [f"{theirs}.bias"])
