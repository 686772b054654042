"""GPTNeoForCausalLM: GPT-2 with local layers, which are the banded attention of GPT-3.

Its window is counted as our bands are, the token itself included. Its attention does not divide by sqrt(d_head), so
queries are divided by it here: exact where d_head is a power of 4, else rounded in the last bit. Its queries, keys and
values have no biases: a model that has them fits only while they are zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from pretrain.checkpoint.huggingface.architecture import Architecture, Config, wrong_key
from pretrain.checkpoint.huggingface.gpt2 import GPT2, with_bias
from pretrain.checkpoint.huggingface.match import Match, absent, rows, same, scaled
from pretrain.config.errors import ConfigError
from pretrain.config.model import Model


class GPTNeo(Architecture):
    """Dense and banded layers in any alternation."""

    name = "GPTNeoForCausalLM"
    model_type = "gpt_neo"
    base = "transformer."
    keys: ClassVar = {
        "num_layers": "layers",
        "hidden_size": "d_model",
        "num_heads": "heads",
        "intermediate_size": "d_ff",
        "max_position_embeddings": "context",
        "vocab_size": "vocab_size",
        "layer_norm_epsilon": "norm_epsilon",
        "initializer_range": "init_std",
        "tie_word_embeddings": "tied_embeddings",
        "bias": "bias",
    }
    words: ClassVar = GPT2.words
    holds: ClassVar = GPT2.holds
    translated = ("bands", "rope_theta")
    dropouts = ("resid_dropout", "embed_dropout", "attention_dropout")
    buffers = (".attn.attention.bias", ".attn.attention.masked_bias")

    norms: ClassVar = GPT2.norms
    matrices: ClassVar = {"attention.out": "attn.attention.out_proj", "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}

    def matches(self, model: Model) -> Iterator[Match]:
        yield same("embedding.tokens.weight", "transformer.wte.weight")
        yield same("embedding.positions.weight", "transformer.wpe.weight")
        for layer in range(model.layers):
            here, there = f"blocks.{layer}", f"transformer.h.{layer}"
            for ours, theirs in {**self.norms, **self.matrices}.items():
                yield from with_bias(same, model, f"{here}.{ours}", f"{there}.{theirs}")
            projections = [f"{there}.attn.attention.{letter}_proj.weight" for letter in "qkv"]
            qkv = rows(f"{here}.attention.qkv.weight", projections, [model.d_model] * 3)
            yield scaled(qkv, 0, 1 / math.sqrt(model.head_width))
            if model.bias:
                yield absent(f"{here}.attention.qkv.bias", (3 * model.d_model,))
        yield from with_bias(same, model, "head.norm", "transformer.ln_f")
        if not model.tied_embeddings:
            yield same("head.weight", "lm_head.weight")

    def rounding(self, model: Model) -> str | None:
        if math.frexp(math.sqrt(model.head_width))[0] == 0.5:
            return None
        return f"queries are divided by the square root of d_head ({model.head_width}): rounded in the last bit"

    def config(self, model: Model) -> Config:
        kind = ["global" if model.band_of(layer) is None else "local" for layer in range(model.layers)]
        width = {"window_size": model.bands.width} if model.bands else {}
        return super().config(model) | {"attention_types": [[kind, 1]], **width}

    def fields(self, config: Config) -> Config:
        return super().fields(config) | {"bands": _bands(config)}


def _bands(config: Config) -> dict[str, Any] | None:
    """The alternation that ours can be: every n-th layer is local, counting from the n-th. Raises ConfigError."""
    kinds = [kind for pattern, times in config["attention_types"] for kind in list(pattern) * times]
    if "local" not in kinds:
        return None
    every = kinds.index("local") + 1
    if kinds != ["local" if layer % every == every - 1 else "global" for layer in range(len(kinds))]:
        rule = "must make every n-th layer local, counting from the n-th"
        raise ConfigError([wrong_key("attention_types", config["attention_types"], rule)])
    return {"every": every, "width": config["window_size"]}
