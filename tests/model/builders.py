"""Small models with weights that leave nothing at its default: every mask, bias and norm must matter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pretrain.config.model import Model
from pretrain.model.transformer import Transformer

GPT = {"positions": "learned", "norm": "layernorm", "activation": "gelu_tanh"}
LLAMA = {"positions": "rope", "norm": "rmsnorm", "activation": "swiglu", "bias": False, "tied_embeddings": False}
GPTJ = {**GPT, "positions": "rope", "rope_fraction": 0.5, "parallel_block": True, "tied_embeddings": False}
MPT = {**GPT, "positions": "alibi", "activation": "gelu", "bias": False}
STYLES = {
    "gpt": GPT,
    "llama": LLAMA,
    "llama-gqa": {**LLAMA, "kv_heads": 2},
    "none": {**GPT, "positions": "none"},
    "alibi": {**GPT, "positions": "alibi", "kv_heads": 2},
    "gptj": GPTJ,
    "qwen3": {**LLAMA, "kv_heads": 2, "qk_norm": True},
    "swiglu beside": {**LLAMA, "parallel_block": True, "qk_norm": True},
}


def small(**fields: Any) -> Model:
    """3 layers, 32 wide, 4 heads, context 24, vocabulary 97 (128 rows)."""
    shape = {"layers": 3, "d_model": 32, "heads": 4, "context": 24, "vocab_size": 97}
    return Model.parse({**shape, **fields})


def build(config: Model, seed: int = 0) -> Transformer:
    """A model whose parameters are all random and large enough for attention to be far from uniform."""
    model = Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if "norm.weight" in name else 0.2 * noise)
    return model.eval()


def tokens(config: Model, batch: int, length: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Inputs and targets [B, T]; some targets are none."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(config.vocabulary, (batch, length + 1), generator=generator)
    inputs, targets = ids[:, :-1], ids[:, 1:].clone()
    targets[:, length // 3] = -100
    return inputs, targets
