"""GPTNeoXForCausalLM (Black et al. 2022) with `use_parallel_residual: false`: GPT-2 with rotary positions.

With it, as in GPT-NeoX-20B and Pythia, attention and MLP side by side have a norm each; ours share one. The rows of its
queries, keys and values lie head by head, ours queries first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch

from pretrain.checkpoint.huggingface.architecture import Config
from pretrain.checkpoint.huggingface.gpt2 import GELU, with_bias
from pretrain.checkpoint.huggingface.match import Match, permuted, same
from pretrain.checkpoint.huggingface.rope import PartialRope
from pretrain.config.model import Model


class GPTNeoX(PartialRope):
    """As many key heads as heads, heads that make up d_model."""

    name = "GPTNeoXForCausalLM"
    model_type = "gpt_neox"
    base = "gpt_neox."
    head = "embed_out"
    keys: ClassVar = {
        "num_hidden_layers": "layers",
        "hidden_size": "d_model",
        "num_attention_heads": "heads",
        "intermediate_size": "d_ff",
        "max_position_embeddings": "context",
        "vocab_size": "vocab_size",
        "layer_norm_eps": "norm_epsilon",
        "initializer_range": "init_std",
        "tie_word_embeddings": "tied_embeddings",
        "bias": "bias",
    }
    words: ClassVar = {"hidden_act": ("activation", GELU)}
    holds: ClassVar = {"positions": "rope", "norm": "layernorm"}
    fixed: ClassVar = {"use_parallel_residual": False, "attention_bias": True}
    older = ("rotary_emb_base", "rotary_pct")
    dropouts = ("hidden_dropout", "attention_dropout")
    buffers = (".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq")

    modules: ClassVar = {
        "attention_norm": "input_layernorm",
        "attention.out": "attention.dense",
        "mlp_norm": "post_attention_layernorm",
        "mlp.up": "mlp.dense_h_to_4h",
        "mlp.down": "mlp.dense_4h_to_h",
    }

    def matches(self, model: Model) -> Iterator[Match]:
        shape = (3, model.heads, model.head_width)
        by_head = torch.arange(3 * model.d_model).view(shape).transpose(0, 1).flatten()

        def qkv(ours: str, theirs: str) -> Match:
            return permuted(same(ours, theirs), 0, by_head)

        yield same("embedding.tokens.weight", "gpt_neox.embed_in.weight")
        for layer in range(model.layers):
            here, there = f"blocks.{layer}", f"gpt_neox.layers.{layer}"
            for ours, theirs in self.modules.items():
                yield from with_bias(same, model, f"{here}.{ours}", f"{there}.{theirs}")
            yield from with_bias(qkv, model, f"{here}.attention.qkv", f"{there}.attention.query_key_value", qkv)
        yield from with_bias(same, model, "head.norm", "gpt_neox.final_layer_norm")
        if not model.tied_embeddings:
            yield same("head.weight", "embed_out.weight")

    def config(self, model: Model) -> Config:
        return super().config(model) | {"use_parallel_residual": False}
