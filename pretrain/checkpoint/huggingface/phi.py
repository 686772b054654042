"""PhiForCausalLM (Gunasekar et al. 2023): attention and MLP side by side from one norm, rotary positions, biases.

Its head has a bias, which ours has not: zero on the way out, refused on the way in where it is not zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pretrain.checkpoint.huggingface.gpt2 import GELU, with_bias
from pretrain.checkpoint.huggingface.match import Match, rows, same, zero_bias
from pretrain.checkpoint.huggingface.rope import PartialRope
from pretrain.config.model import Model


class Phi(PartialRope):
    """Any number of key heads, heads that make up d_model."""

    name = "PhiForCausalLM"
    model_type = "phi"
    base = "model."
    keys: ClassVar = {
        "num_hidden_layers": "layers",
        "hidden_size": "d_model",
        "num_attention_heads": "heads",
        "num_key_value_heads": "kv_heads",
        "intermediate_size": "d_ff",
        "max_position_embeddings": "context",
        "vocab_size": "vocab_size",
        "layer_norm_eps": "norm_epsilon",
        "initializer_range": "init_std",
        "tie_word_embeddings": "tied_embeddings",
        "bias": "bias",
    }
    words: ClassVar = {"hidden_act": ("activation", GELU)}
    holds: ClassVar = {"positions": "rope", "norm": "layernorm", "parallel_block": True}
    fixed: ClassVar = {"qk_layernorm": False}
    dropouts = ("resid_pdrop", "embd_pdrop", "attention_dropout")
    buffers = (".rotary_emb.inv_freq",)

    modules: ClassVar = {
        "attention_norm": "input_layernorm",
        "attention.out": "self_attn.dense",
        "mlp.up": "mlp.fc1",
        "mlp.down": "mlp.fc2",
    }

    def matches(self, model: Model) -> Iterator[Match]:
        yield from embedding_and_head(model, "model.embed_tokens.weight")
        for layer in range(model.layers):
            here, there = f"blocks.{layer}", f"model.layers.{layer}"
            for ours, theirs in self.modules.items():
                yield from with_bias(same, model, f"{here}.{ours}", f"{there}.{theirs}")
            yield from _projections(model, f"{here}.attention.qkv", f"{there}.self_attn")
        yield from with_bias(same, model, "head.norm", "model.final_layernorm")


def embedding_and_head(model: Model, theirs: str) -> Iterator[Match]:
    """Where the head has a bias, which is zero."""
    embedding = same("embedding.tokens.weight", theirs)
    if not model.tied_embeddings:
        yield embedding
    last = embedding if model.tied_embeddings else same("head.weight", "lm_head.weight")
    yield zero_bias(last, ["lm_head.bias"])


def _projections(model: Model, ours: str, theirs: str) -> Iterator[Match]:
    """Queries, keys and values, with biases there in any case."""
    sizes = [heads * model.head_width for heads in (model.heads, model.key_heads, model.key_heads)]
    weights, biases = ([f"{theirs}.{letter}_proj.{kind}" for letter in "qkv"] for kind in ("weight", "bias"))
    weight = rows(f"{ours}.weight", weights, sizes)
    if model.bias:
        yield weight
        yield rows(f"{ours}.bias", biases, sizes)
    else:
        yield zero_bias(weight, biases, sizes)
