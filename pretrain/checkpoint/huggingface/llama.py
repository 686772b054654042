"""LlamaForCausalLM (Touvron et al. 2023), MistralForCausalLM without a sliding window, which is the same, and Qwen3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pretrain.checkpoint.huggingface.architecture import Architecture, Config, kinds, wrong_key
from pretrain.checkpoint.huggingface.match import Match, rows, same
from pretrain.checkpoint.huggingface.rope import read_rope
from pretrain.config.errors import ConfigError
from pretrain.config.model import Model

SHAPE = {
    "num_hidden_layers": "layers",
    "hidden_size": "d_model",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "head_dim": "d_head",
    "intermediate_size": "d_ff",
    "max_position_embeddings": "context",
    "vocab_size": "vocab_size",
    "rms_norm_eps": "norm_epsilon",
    "initializer_range": "init_std",
    "tie_word_embeddings": "tied_embeddings",
}


class Llama(Architecture):
    """Rotary positions, RMSNorm, SwiGLU, grouped queries."""

    name = "LlamaForCausalLM"
    model_type = "llama"
    base = "model."
    keys: ClassVar = {**SHAPE, "attention_bias": "bias", "mlp_bias": "bias"}
    words: ClassVar = {"hidden_act": ("activation", {"silu": "swiglu", "swish": "swiglu"})}
    holds: ClassVar = {"positions": "rope", "norm": "rmsnorm"}
    translated = ("rope_theta",)
    dropouts = ("attention_dropout",)
    buffers = (".rotary_emb.inv_freq",)

    modules: ClassVar = {
        "attention.out": "self_attn.o_proj",
        "mlp.gate": "mlp.gate_proj",
        "mlp.up": "mlp.up_proj",
        "mlp.down": "mlp.down_proj",
    }

    def matches(self, model: Model) -> Iterator[Match]:
        sizes = [heads * model.head_width for heads in (model.heads, model.key_heads, model.key_heads)]
        yield same("embedding.tokens.weight", "model.embed_tokens.weight")
        for layer in range(model.layers):
            here, there = f"blocks.{layer}", f"model.layers.{layer}"
            yield same(f"{here}.attention_norm.weight", f"{there}.input_layernorm.weight")
            yield same(f"{here}.mlp_norm.weight", f"{there}.post_attention_layernorm.weight")
            for kind in kinds(model):
                projections = [f"{there}.self_attn.{letter}_proj.{kind}" for letter in "qkv"]
                yield rows(f"{here}.attention.qkv.{kind}", projections, sizes)
                for ours, theirs in self.modules.items():
                    yield same(f"{here}.{ours}.{kind}", f"{there}.{theirs}.{kind}")
        yield same("head.norm.weight", "model.norm.weight")
        if not model.tied_embeddings:
            yield same("head.weight", "lm_head.weight")

    def config(self, model: Model) -> Config:
        rope = {"rope_type": "default", "rope_theta": model.rope_theta}
        # rope_theta is where versions before 5 look for it
        return super().config(model) | {"rope_parameters": rope, "rope_theta": model.rope_theta}

    def fields(self, config: Config) -> Config:
        rope = read_rope(config)
        if rope.rope_fraction != 1:
            rule = "must be 1: all of a head is rotated"
            raise ConfigError([wrong_key("partial_rotary_factor", rope.rope_fraction, rule)])
        return super().fields(config) | {"rope_theta": rope.rope_theta}


class Mistral(Llama):
    """Only read: a model of it is written as LLaMA's."""

    name = "MistralForCausalLM"
    model_type = "mistral"
    keys: ClassVar = SHAPE
    holds: ClassVar = {**Llama.holds, "bias": False}
    fixed: ClassVar = {"sliding_window": None}


class Qwen3(Llama):
    """LLaMA with normalised queries and keys."""

    name = "Qwen3ForCausalLM"
    model_type = "qwen3"
    keys: ClassVar = SHAPE
    holds: ClassVar = {**Llama.holds, "bias": False, "qk_norm": True}
    fixed: ClassVar = {"attention_bias": False, "use_sliding_window": False}

    def matches(self, model: Model) -> Iterator[Match]:
        yield from super().matches(model)
        for layer in range(model.layers):
            for norm in ("q_norm", "k_norm"):
                yield same(f"blocks.{layer}.attention.{norm}.weight", f"model.layers.{layer}.self_attn.{norm}.weight")
