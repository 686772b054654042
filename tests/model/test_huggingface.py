"""Logits and gradients equal those of transformers' GPT-2 and LLaMA on the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from pretrain.config.model import Model
from pretrain.model.transformer import Transformer
from tests.model.builders import GPT, LLAMA, build, small, tokens


def gpt2(config: Model) -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocabulary,
            n_positions=config.context,
            n_embd=config.d_model,
            n_layer=config.layers,
            n_head=config.heads,
            n_inner=config.mlp_width,
            activation_function={"gelu_tanh": "gelu_new", "gelu": "gelu"}[config.activation],
            layer_norm_epsilon=config.norm_epsilon,
            tie_word_embeddings=config.tied_embeddings,
        )
    )


def llama(config: Model) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocabulary,
            max_position_embeddings=config.context,
            hidden_size=config.d_model,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_heads,
            head_dim=config.head_width,
            intermediate_size=config.mlp_width,
            rms_norm_eps=config.norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            tie_word_embeddings=config.tied_embeddings,
        )
    )


def from_gpt2(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Weights, or gradients, of GPT2LMHeadModel under our names; its Conv1D matrices are transposed."""
    ours = {
        "embedding.tokens.weight": theirs["transformer.wte.weight"],
        "embedding.positions.weight": theirs["transformer.wpe.weight"],
        "head.norm.weight": theirs["transformer.ln_f.weight"],
        "head.norm.bias": theirs["transformer.ln_f.bias"],
        "head.weight": theirs.get("lm_head.weight", theirs["transformer.wte.weight"]),
    }
    names = {"attention_norm": "ln_1", "mlp_norm": "ln_2"}
    matrices = {"attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj"}
    matrices |= {"mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}
    for layer in range(layers):
        for our, their in (names | matrices).items():
            for kind in ("weight", "bias"):
                tensor = theirs[f"transformer.h.{layer}.{their}.{kind}"]
                ours[f"blocks.{layer}.{our}.{kind}"] = tensor.T if tensor.dim() == 2 else tensor
    return ours


def from_llama(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Weights, or gradients, of LlamaForCausalLM under our names; queries, keys and values are fused."""
    ours = {
        "embedding.tokens.weight": theirs["model.embed_tokens.weight"],
        "head.norm.weight": theirs["model.norm.weight"],
        "head.weight": theirs.get("lm_head.weight", theirs["model.embed_tokens.weight"]),
    }
    names = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    names |= {"attention.out": "self_attn.o_proj", "mlp.gate": "mlp.gate_proj"}
    names |= {"mlp.up": "mlp.up_proj", "mlp.down": "mlp.down_proj"}
    for layer in range(layers):
        there = f"model.layers.{layer}"
        for our, their in names.items():
            ours[f"blocks.{layer}.{our}.weight"] = theirs[f"{there}.{their}.weight"]
        qkv = [theirs[f"{there}.self_attn.{letter}_proj.weight"] for letter in "qkv"]
        ours[f"blocks.{layer}.attention.qkv.weight"] = torch.cat(qkv)
    return ours


CASES: dict[str, dict[str, Any]] = {
    "gpt2": GPT,
    "gpt2 exact gelu": {**GPT, "activation": "gelu"},
    "gpt2 untied": {**GPT, "tied_embeddings": False},
    "gpt2 d_head 10": {**GPT, "d_model": 30, "heads": 3},
    "gpt2 odd d_head 7, d_ff 50": {**GPT, "d_model": 35, "heads": 5, "d_ff": 50, "norm_epsilon": 1e-3},
    "llama": LLAMA,
    "llama tied": {**LLAMA, "tied_embeddings": True},
    "llama grouped queries": {**LLAMA, "kv_heads": 2},
    "llama one key head": {**LLAMA, "kv_heads": 1, "rope_theta": 500.0},
    "llama d_head 10": {**LLAMA, "heads": 2, "d_head": 10, "norm_epsilon": 1e-3},
    "llama d_head 24 wider than d_model": {**LLAMA, "d_head": 24, "kv_heads": 2},
}


@pytest.mark.parametrize("attention", ["plain", "sdpa"])
@pytest.mark.parametrize("case", CASES)
def test_equals_transformers(case: str, attention: str) -> None:
    config = small(**CASES[case], attention=attention)
    convert = from_gpt2 if config.positions == "learned" else from_llama
    assert_same_numbers(config, randomised(gpt2(config) if config.positions == "learned" else llama(config)), convert)


def assert_same_numbers(
    config: Model, other: nn.Module, convert: Callable[[dict[str, Tensor], int], dict[str, Tensor]]
) -> None:
    """Logits, loss and every gradient are those of a transformers model whose weights `convert` gives our names."""
    model = _load(config, convert(dict(other.named_parameters()), config.layers))
    inputs, targets = tokens(config, 2, 20)

    expected = other(inputs).logits
    torch.testing.assert_close(model.logits(inputs), expected, atol=1e-5, rtol=1e-5)

    count = (targets != -100).sum()
    loss = F.cross_entropy(expected.flatten(0, 1), targets.flatten(), reduction="sum") / count
    loss.backward()
    total = model(inputs, targets).total / count
    total.backward()
    torch.testing.assert_close(total, loss, atol=1e-5, rtol=0)
    gradients = convert({name: p.grad for name, p in other.named_parameters()}, config.layers)
    for name, parameter in model.named_parameters():
        found, wanted = parameter.grad, gradients[name]
        rows = len(wanted)
        assert wanted.abs().max() > 1e-5, f"{name} is not exercised"
        torch.testing.assert_close(
            found[: len(wanted)], wanted, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
        assert not found[rows:].any(), "padding rows have no gradient"


def randomised(other: nn.Module) -> nn.Module:
    """Every weight random, the same each time."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            noise = 0.2 * torch.randn_like(parameter)
            parameter.copy_(1 + noise if "norm" in name or ("ln_" in name and name.endswith("weight")) else noise)
    return other.eval()


def _load(config: Model, weights: dict[str, Tensor]) -> Transformer:
    model = build(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter[: len(weights[name])].copy_(weights[name])
    return model
