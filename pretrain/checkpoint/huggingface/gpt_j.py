"""GPTJForCausalLM (Wang & Komatsuzaki 2021), only read: a model of it is written as Phi's.

It turns columns 2i and 2i + 1 of a head together where ours turn i and i + R / 2, so rows of queries and keys change
places. It has no biases in attention: ours begin at zero, and training moves them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from pretrain.checkpoint.huggingface.architecture import Architecture, Config
from pretrain.checkpoint.huggingface.gpt2 import GPT2, with_bias
from pretrain.checkpoint.huggingface.match import Match, absent, permuted, rows, same
from pretrain.checkpoint.huggingface.phi import embedding_and_head
from pretrain.config.model import Model


class GPTJ(Architecture):
    """Attention and MLP side by side from one norm, as many key heads as heads."""

    name = "GPTJForCausalLM"
    model_type = "gptj"
    base = "transformer."
    keys: ClassVar = {key: field for key, field in GPT2.keys.items() if key != "bias"}
    words: ClassVar = GPT2.words
    holds: ClassVar = {"positions": "rope", "norm": "layernorm", "parallel_block": True, "bias": True}
    translated = ("rope_fraction",)
    buffers = (".attn.bias", ".attn.masked_bias")

    modules: ClassVar = {"attention_norm": "ln_1", "mlp.up": "mlp.fc_in", "mlp.down": "mlp.fc_out"}

    def matches(self, model: Model) -> Iterator[Match]:
        order = _pairs(model)
        yield from embedding_and_head(model, "transformer.wte.weight")
        for layer in range(model.layers):
            here, there = f"blocks.{layer}", f"transformer.h.{layer}"
            for ours, theirs in self.modules.items():
                yield from with_bias(same, model, f"{here}.{ours}", f"{there}.{theirs}")
            projections = [f"{there}.attn.{letter}_proj.weight" for letter in "qkv"]
            qkv = rows(f"{here}.attention.qkv.weight", projections, [model.d_model] * 3)
            yield permuted(permuted(qkv, 0, order), 1, order)
            yield absent(f"{here}.attention.qkv.bias", (3 * model.d_model,))
            yield same(f"{here}.attention.out.weight", f"{there}.attn.out_proj.weight")
            yield absent(f"{here}.attention.out.bias", (model.d_model,))
        yield from with_bias(same, model, "head.norm", "transformer.ln_f")

    def fields(self, config: Config) -> Config:
        return super().fields(config) | {"rope_fraction": config["rotary_dim"] * config["n_head"] / config["n_embd"]}


def _pairs(model: Model) -> Tensor:
    """Their row i is our row order[i]."""
    head = torch.arange(model.head_width)
    turned = head[: model.rope_width].view(2, -1).T.flatten()
    head = torch.cat([turned, head[model.rope_width :]])
    return (torch.arange(model.heads)[:, None] * model.head_width + head).flatten()
