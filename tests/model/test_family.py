"""ALiBi, QK-norm, the parallel block and rope on part of a head: the numbers of MPT, Qwen3 and Phi in transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import MptConfig, MptForCausalLM, PhiConfig, PhiForCausalLM, Qwen3Config, Qwen3ForCausalLM

from pretrain.config.errors import ConfigError
from pretrain.config.load import CONFIGS, load_yaml
from pretrain.config.model import Model
from tests.model.builders import GPTJ, LLAMA, MPT, build, small, tokens
from tests.model.test_huggingface import assert_same_numbers, from_llama, randomised


def mpt(config: Model) -> MptForCausalLM:
    return MptForCausalLM(
        MptConfig(
            d_model=config.d_model,
            n_heads=config.heads,
            n_layers=config.layers,
            max_seq_len=config.context,
            vocab_size=config.vocabulary,
        )
    )


def qwen3(config: Model) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=config.vocabulary,
            hidden_size=config.d_model,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_heads,
            head_dim=config.head_width,
            max_position_embeddings=config.context,
            rms_norm_eps=config.norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        )
    )


def phi(config: Model) -> PhiForCausalLM:
    return PhiForCausalLM(
        PhiConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.d_model,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_heads,
            max_position_embeddings=config.context,
            layer_norm_eps=config.norm_epsilon,
            resid_pdrop=0.0,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": config.rope_theta,
                "partial_rotary_factor": config.rope_fraction,
            },
        )
    )


def from_mpt(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    names = {"attention_norm": "norm_1", "mlp_norm": "norm_2", "attention.qkv": "attn.Wqkv"}
    names |= {"attention.out": "attn.out_proj", "mlp.up": "ffn.up_proj", "mlp.down": "ffn.down_proj"}
    ours = {"embedding.tokens.weight": theirs["transformer.wte.weight"]}
    ours |= {"head.weight": ours["embedding.tokens.weight"], "head.norm.weight": theirs["transformer.norm_f.weight"]}
    for layer in range(layers):
        for our, their in names.items():
            ours[f"blocks.{layer}.{our}.weight"] = theirs[f"transformer.blocks.{layer}.{their}.weight"]
    return ours


def from_qwen3(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    ours = from_llama(theirs, layers)
    for layer in range(layers):
        for norm in ("q_norm", "k_norm"):
            there = f"model.layers.{layer}.self_attn.{norm}.weight"
            ours[f"blocks.{layer}.attention.{norm}.weight"] = theirs[there]
    return ours


def from_phi(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    names = {"attention_norm": "input_layernorm", "attention.out": "self_attn.dense"}
    names |= {"mlp.up": "mlp.fc1", "mlp.down": "mlp.fc2"}
    ours = {"embedding.tokens.weight": theirs["model.embed_tokens.weight"], "head.weight": theirs["lm_head.weight"]}
    for kind in ("weight", "bias"):
        ours[f"head.norm.{kind}"] = theirs[f"model.final_layernorm.{kind}"]
        for layer in range(layers):
            there = f"model.layers.{layer}"
            ours |= {f"blocks.{layer}.{our}.{kind}": theirs[f"{there}.{their}.{kind}"] for our, their in names.items()}
            qkv = [theirs[f"{there}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            ours[f"blocks.{layer}.attention.qkv.{kind}"] = torch.cat(qkv)
    return ours


CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "MPT": (mpt, from_mpt, MPT),
    "MPT, 6 heads": (mpt, from_mpt, {**MPT, "d_model": 48, "heads": 6}),
    "Qwen3": (qwen3, from_qwen3, {**LLAMA, "kv_heads": 2, "qk_norm": True}),
    "Qwen3, d_head 10": (qwen3, from_qwen3, {**LLAMA, "d_head": 10, "qk_norm": True, "norm_epsilon": 1e-3}),
    "Phi": (phi, from_phi, GPTJ),
    "Phi, 2 key heads, all of a head turned": (phi, from_phi, {**GPTJ, "kv_heads": 2, "rope_fraction": 1.0}),
    "Phi, 2 of 8 columns turned": (phi, from_phi, {**GPTJ, "rope_fraction": 0.25}),
}


@pytest.mark.parametrize("attention", ["plain", "sdpa"])
@pytest.mark.parametrize("case", CASES)
def test_equals_transformers(case: str, attention: str) -> None:
    make, convert, fields = CASES[case]
    config = small(**fields, attention=attention)
    other = randomised(make(config))
    if case.startswith("Phi"):
        torch.nn.init.zeros_(other.lm_head.bias)  # ours has none
    assert_same_numbers(config, other, convert)


def test_alibi_does_not_see_where_a_sequence_starts() -> None:
    """The same tokens behind a document that is masked have the same losses: distance counts, not the place."""
    model = build(small(positions="alibi"))
    inputs, targets = tokens(model.config, 1, 20)
    document = torch.tensor([[0] * 7 + [1] * 13], dtype=torch.int32)
    packed = model(inputs, targets, document).per_token[0, 7:]
    torch.testing.assert_close(packed, model(inputs[:, 7:], targets[:, 7:]).per_token[0], atol=1e-5, rtol=1e-5)


def test_norms_make_scores_independent_of_the_size_of_queries() -> None:
    """Dehghani et al. 2023: logits of attention cannot grow with the weights."""
    model = build(small(qk_norm=True, bias=False, norm_epsilon=1e-12))
    inputs, _ = tokens(model.config, 1, 20)
    before = model.logits(inputs)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight[:64] *= 100  # queries and keys of 4 heads of 8
    torch.testing.assert_close(model.logits(inputs), before, atol=1e-4, rtol=1e-4)


REFUSED = {
    "flash": ({"positions": "alibi", "attention": "flash"}, "flash attention takes no bias", "attention: auto"),
    "no rope": ({"rope_fraction": 0.5}, r"rope_fraction \(0.5\) needs positions: rope", "positions: rope"),
    "odd": ({"positions": "rope", "rope_fraction": 0.4}, r"even number, this is 0.4 x 8 = 3.2", "rope_fraction: 0.5"),
    "three": ({"positions": "rope", "rope_fraction": 0.375}, r"0.375 x 8 = 3", "rope_fraction: 0.5"),
    "unknown": ({"positions": "alibbi"}, "'learned', 'rope', 'alibi' or 'none'", ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    fields, rule, fix = REFUSED[case]
    with pytest.raises(ConfigError, match=rule) as error:
        small(**fields)
    assert fix in error.value.problems[0].fix


def test_models_from_before_keep_their_fingerprint() -> None:
    """Of the first version, taken before these options were there: their checkpoints are still read."""
    tiny = load_yaml(CONFIGS / "models" / "tiny.yaml")
    model = Model.parse({**tiny, "vocab_size": 512})
    assert model.fingerprint() == "3376ed780a940364"
    assert Model.parse({**tiny, "vocab_size": 512, "attention": "plain"}).fingerprint() == "3376ed780a940364"
    assert Model.parse(load_yaml(CONFIGS / "models" / "llama-7b.yaml")).fingerprint() == "57e6c8a29df0a79c"
    others = ({"qk_norm": True}, {"parallel_block": True}, {"positions": "rope", "rope_fraction": 0.5})
    found = {Model.parse({**tiny, "vocab_size": 512, **fields}).fingerprint() for fields in others}
    found.add(Model.parse({**tiny, "vocab_size": 512, "positions": "rope"}).fingerprint())
    assert len(found | {model.fingerprint()}) == 5
