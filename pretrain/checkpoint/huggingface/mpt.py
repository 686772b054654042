"""MptForCausalLM (MosaicML 2023): ALiBi, LayerNorm without biases, exact GELU, an MLP of 4 x d_model.

Of `attn_config` transformers' code computes `clip_qkv` and `softmax_scale`, its authors' code all that is fixed here.
The dropout that transformers' code uses is `attn_config.attn_pdrop`, a whole number: ours is written as the other two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pretrain.checkpoint.huggingface.architecture import Architecture, Config
from pretrain.checkpoint.huggingface.match import Match, same
from pretrain.config.model import Model

ATTENTION: dict[str, Any] = {
    "attn_type": "multihead_attention",
    "alibi": True,
    "alibi_bias_max": 8,
    "clip_qkv": None,
    "softmax_scale": None,
    "prefix_lm": False,
    "qk_ln": False,
}


class MPT(Architecture):
    """As many key heads as heads, heads that make up d_model."""

    name = "MptForCausalLM"
    model_type = "mpt"
    base = "transformer."
    keys: ClassVar = {
        "n_layers": "layers",
        "d_model": "d_model",
        "n_heads": "heads",
        "max_seq_len": "context",
        "vocab_size": "vocab_size",
        "layer_norm_epsilon": "norm_epsilon",
        "initializer_range": "init_std",
        "tie_word_embeddings": "tied_embeddings",
    }
    holds: ClassVar = {"positions": "alibi", "norm": "layernorm", "activation": "gelu", "bias": False}
    fixed: ClassVar = {
        "no_bias": True,
        "expansion_ratio": 4,
        "logit_scale": None,
        **{f"attn_config.{key}": value for key, value in ATTENTION.items()},
    }
    translated = ("rope_theta",)
    """No part of a model without rotary positions."""
    dropouts = ("resid_pdrop", "emb_pdrop")

    modules: ClassVar = {
        "attention_norm": "norm_1",
        "attention.qkv": "attn.Wqkv",
        "attention.out": "attn.out_proj",
        "mlp_norm": "norm_2",
        "mlp.up": "ffn.up_proj",
        "mlp.down": "ffn.down_proj",
    }

    def matches(self, model: Model) -> Iterator[Match]:
        yield same("embedding.tokens.weight", "transformer.wte.weight")
        for layer in range(model.layers):
            for ours, theirs in self.modules.items():
                yield same(f"blocks.{layer}.{ours}.weight", f"transformer.blocks.{layer}.{theirs}.weight")
        yield same("head.norm.weight", "transformer.norm_f.weight")
        if not model.tied_embeddings:
            yield same("head.weight", "lm_head.weight")

    def config(self, model: Model) -> Config:
        # older readers take learned positions and no ALiBi for granted
        return super().config(model) | {"attn_config": ATTENTION, "learned_pos_emb": False}

    def fields(self, config: Config) -> Config:
        attention = {f"attn_config.{key}": value for key, value in config["attn_config"].items()}
        return super().fields(config | attention)
