"""Every architecture against transformers itself, both ways, and all that none of them holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from pretrain.checkpoint.huggingface.export import export
from pretrain.checkpoint.huggingface.fields import resolved
from pretrain.checkpoint.huggingface.import_ import import_model
from pretrain.checkpoint.huggingface.registry import choose
from pretrain.checkpoint.huggingface.sources import Imported
from pretrain.checkpoint.huggingface.weights import build, each
from pretrain.cli.main import app
from pretrain.config.errors import ConfigError
from tests.checkpoint.huggingface.models import (
    FAMILY,
    NEO,
    VOCABULARY,
    byte_tokenizer,
    edit_config,
    model_of,
    write_huggingface,
    write_imported,
)
from tests.model.builders import GPT, GPTJ, LLAMA, MPT

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", GPT),
    "gpt2 exact gelu": ("GPT2LMHeadModel", {**GPT, "activation": "gelu"}),
    "gpt2 untied": ("GPT2LMHeadModel", {**GPT, "tied_embeddings": False}),
    "gpt2 without biases": ("GPT2LMHeadModel", {**GPT, "bias": False}),
    "gpt2 odd widths": ("GPT2LMHeadModel", {**GPT, "d_model": 35, "heads": 5, "d_ff": 50, "norm_epsilon": 1e-3}),
    "llama": ("LlamaForCausalLM", LLAMA),
    "llama tied": ("LlamaForCausalLM", {**LLAMA, "tied_embeddings": True}),
    "llama grouped": ("LlamaForCausalLM", {**LLAMA, "kv_heads": 2}),
    "llama one key head": ("LlamaForCausalLM", {**LLAMA, "kv_heads": 1, "rope_theta": 500.0}),
    "llama d_head 24": ("LlamaForCausalLM", {**LLAMA, "d_head": 24, "kv_heads": 2, "norm_epsilon": 1e-3}),
    "llama with biases": ("LlamaForCausalLM", {**LLAMA, "bias": True}),
    "qk_norm": ("Qwen3ForCausalLM", {**LLAMA, "qk_norm": True, "kv_heads": 2}),
    "qk_norm d_head 24, tied": ("Qwen3ForCausalLM", {**LLAMA, "qk_norm": True, "d_head": 24, "tied_embeddings": True}),
    "bands": ("GPTNeoForCausalLM", NEO),
    "bands, biases": ("GPTNeoForCausalLM", {**NEO, "bias": True, "activation": "gelu"}),
    "bands every 3rd, untied": ("GPTNeoForCausalLM", {**NEO, "bands": {"every": 3, "width": 2}, "tied_embeddings": 0}),
    "bands everywhere": ("GPTNeoForCausalLM", {**NEO, "bands": {"every": 1, "width": 7}}),
    "alibi": ("MptForCausalLM", MPT),
    "alibi 6 heads, untied": (
        "MptForCausalLM", {**MPT, "d_model": 48, "heads": 6, "tied_embeddings": False, "norm_epsilon": 1e-3}
    ),
    "parallel": ("PhiForCausalLM", GPTJ),
    "parallel without biases": ("PhiForCausalLM", {**GPTJ, "bias": False, "kv_heads": 2}),
    "parallel tied, all of a head": (
        "PhiForCausalLM",
        {**GPTJ, "tied_embeddings": True, "rope_fraction": 1.0, "rope_theta": 500.0, "activation": "gelu"},
    ),
    "rope": ("GPTNeoXForCausalLM", {**GPTJ, "parallel_block": False}),
    "rope without biases, tied": (
        "GPTNeoXForCausalLM",
        {**GPTJ, "parallel_block": False, "bias": False, "tied_embeddings": True, "rope_fraction": 0.25, "d_ff": 50},
    ),
}  # fmt: skip


def ids() -> torch.Tensor:
    return torch.randint(VOCABULARY, (2, 20), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("case", OURS)
@torch.no_grad()
def test_export(case: str, tmp_path: Path) -> None:
    """transformers computes the same logits, finds every tensor, and would have written the same file."""
    architecture, fields = OURS[case]
    config = model_of(**fields)
    weights = write_imported(config, tmp_path / "ours")
    done = export(tmp_path / "ours", tmp_path / "theirs")
    assert done.architecture == architecture
    assert done.parameters == sum(value.numel() for value in weights.values())

    model, info = AutoModelForCausalLM.from_pretrained(str(tmp_path / "theirs"), output_loading_info=True)
    assert not any(info.values()), info
    assert type(model).__name__ == architecture
    expected = build(Imported(tmp_path / "ours")).logits(ids())
    torch.testing.assert_close(model.eval()(ids()).logits, expected, atol=1e-5, rtol=1e-5)
    assert expected.abs().max() > 1

    model.save_pretrained(tmp_path / "again")
    written = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("theirs", "again")]
    assert written[0] == written[1]


@pytest.mark.parametrize("case", OURS)
def test_export_then_import(case: str, tmp_path: Path) -> None:
    """The same model, every number bit for bit, and the same fingerprint."""
    config = model_of(**OURS[case][1])
    weights = write_imported(config, tmp_path / "ours")
    exported = export(tmp_path / "ours", tmp_path / "theirs", check=False)
    imported = import_model(tmp_path / "theirs", tmp_path / "back", check=False)
    assert imported.fingerprint == exported.fingerprint
    back = Imported(tmp_path / "back")
    assert resolved(back.model) == resolved(config)
    for name, value in each(back):
        assert torch.equal(value, weights[name]), name
    ours, theirs = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("ours", "back"))
    assert ours == theirs


WITHOUT = {"GPTNeoForCausalLM": 3, "GPTJForCausalLM": 4}
"""Biases of attention that it has not, in each layer, by d_model."""


@pytest.mark.parametrize("family", FAMILY)
@torch.no_grad()
def test_import(family: str, tmp_path: Path) -> None:
    """Our model computes what transformers' does; exported again it is the same file."""
    other = write_huggingface(tmp_path / "theirs", family)
    done = import_model(tmp_path / "theirs", tmp_path / "ours")
    assert done.architecture == type(other).__name__
    ours = Imported(tmp_path / "ours")
    less = WITHOUT.get(type(other).__name__, 0) * ours.model.layers * ours.model.d_model
    more = VOCABULARY if "lm_head.bias" in dict(other.named_parameters()) else 0
    assert done.parameters == sum(parameter.numel() for parameter in other.parameters()) + less - more
    assert done.compared is not None
    assert done.compared.largest_logit_difference < 1e-5 < done.compared.largest_logit
    expected = other(ids()).logits
    torch.testing.assert_close(build(ours).logits(ids()), expected, atol=1e-5, rtol=1e-5)
    assert expected.abs().max() > 1
    export(tmp_path / "ours", tmp_path / "again", check=False)
    written = [tmp_path / name / "model.safetensors" for name in ("theirs", "again")]
    exact = ours.model.bands is None or ours.model.head_width == 16  # sqrt(8) is no number
    if exact and not family.startswith("gpt-j"):  # which is written as another one
        assert written[0].read_bytes() == written[1].read_bytes()


@torch.no_grad()
def test_gptj_leaves_as_phi(tmp_path: Path) -> None:
    """Which has a place for the biases of attention that training moves away from zero."""
    other = write_huggingface(tmp_path / "theirs", "gpt-j")
    import_model(tmp_path / "theirs", tmp_path / "ours", check=False)
    assert export(tmp_path / "ours", tmp_path / "again", check=False).architecture == "PhiForCausalLM"
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "again")).eval()
    torch.testing.assert_close(model(ids()).logits, other(ids()).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("width", "rounding"), [(64, None), (32, "square root of d_head (8): rounded in the last bit")]
)
def test_rounding_is_told(width: int, rounding: str | None, tmp_path: Path) -> None:
    """GPT-Neo's attention does not divide by sqrt(d_head): 4 is exact, sqrt(8) is not."""
    write_imported(model_of(**{**NEO, "d_model": width}), tmp_path / "ours")
    result = CliRunner().invoke(app, ["export", str(tmp_path / "ours"), "--to", str(tmp_path / "theirs")])
    assert ("not the same bytes after an import" in result.output) == bool(rounding)
    told = json.loads((tmp_path / "theirs" / "export.json").read_text())["rounding"]
    assert told is None if rounding is None else rounding in told
    imported = import_model(tmp_path / "theirs", tmp_path / "back", check=False)
    exported = json.loads((tmp_path / "theirs" / "export.json").read_text())
    assert (imported.fingerprint == exported["fingerprint"]) == (rounding is None)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt-neo heads of 16", "neox"])
def test_import_of_bfloat16(family: str, tmp_path: Path) -> None:
    """Every number is kept, so an export in the same type gives the same bytes."""
    other = write_huggingface(tmp_path / "fp32", family)
    other.to(torch.bfloat16).save_pretrained(tmp_path / "theirs")
    byte_tokenizer().save(tmp_path / "theirs")
    import_model(tmp_path / "theirs", tmp_path / "ours", check=False)
    export(tmp_path / "ours", tmp_path / "again", "bf16")
    written = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("theirs", "again")]
    assert written[0] == written[1]
    assert json.loads((tmp_path / "again" / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_tokenizer_is_autotokenizers(tmp_path: Path) -> None:
    write_imported(model_of(**GPT), tmp_path / "ours")
    export(tmp_path / "ours", tmp_path / "theirs", check=False)
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "theirs"))
    text = "Hello, world! 안녕하세요\n\n  indented"
    assert tokenizer(text).input_ids == byte_tokenizer().encode(text)
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.eos_token_id == 256
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "theirs"))
    assert model.generation_config.eos_token_id == model.config.eos_token_id == 256
    written = model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=4, do_sample=False)
    assert written.shape == (1, 7)


def test_theta_for_older_readers(tmp_path: Path) -> None:
    """theta reaches readers before version 5 too, which look for another key."""
    write_imported(model_of(**LLAMA, rope_theta=500.0), tmp_path / "ours")
    export(tmp_path / "ours", tmp_path / "theirs", check=False)
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert config["rope_theta"] == 500.0
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": 500.0}


@pytest.mark.parametrize("parallel", [True, False])
def test_a_share_of_a_head_that_transformers_rounds_down(parallel: bool, tmp_path: Path) -> None:
    """0.58 x 100 is 57.99999999999999 in floating point, and 57 columns there: what is written gives 58."""
    fields = {**GPTJ, "parallel_block": parallel, "d_model": 200, "heads": 2, "rope_fraction": 0.58}
    write_imported(model_of(**fields), tmp_path / "ours")
    done = export(tmp_path / "ours", tmp_path / "theirs")
    assert done.compared is not None
    assert done.compared.largest_logit_difference < 1e-4 < done.compared.largest_logit / 1e4
    rope = json.loads((tmp_path / "theirs" / "config.json").read_text())["rope_parameters"]
    assert int(0.58 * 100) == 57
    assert int(rope["partial_rotary_factor"] * 100) == 58
    back = import_model(tmp_path / "theirs", tmp_path / "back")
    assert back.fingerprint == done.fingerprint
    assert Imported(tmp_path / "back").model.rope_width == 58


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "rmsnorm with learned positions": (
        {**GPT, "norm": "rmsnorm"}, "model.norm", "must be layernorm in GPT2LMHeadModel"
    ),
    "no positions": ({**GPT, "positions": "none"}, "model.positions", "must be learned in GPT2LMHeadModel"),
    "rope with layernorm": ({**LLAMA, "norm": "layernorm"}, "model.norm", "must be rmsnorm in LlamaForCausalLM"),
    "rope with gelu": (
        {**LLAMA, "activation": "gelu"}, "model.activation", "must be swiglu in LlamaForCausalLM"
    ),
    "gpt with grouped queries": ({**GPT, "kv_heads": 2}, "model.kv_heads", "must be 4 in GPT2LMHeadModel"),
    "gpt with wide heads": ({**GPT, "d_head": 10}, "model.d_head", "must be 8 in GPT2LMHeadModel"),
    "gpt with swiglu": (
        {**GPT, "activation": "swiglu"}, "model.activation", "must be gelu_tanh or gelu in GPT2LMHeadModel"
    ),
    "banded llama": ({**LLAMA, "bands": {"width": 5}}, "model.bands", "must be None in LlamaForCausalLM"),
    "alibi with biases": ({**MPT, "bias": True}, "model.bias", "must be False in MptForCausalLM"),
    "alibi narrow mlp": ({**MPT, "d_ff": 50}, "model.d_ff", "must be 128 in MptForCausalLM"),
    "alibi with gelu_tanh": (
        {**MPT, "activation": "gelu_tanh"}, "model.activation", "must be gelu in MptForCausalLM"
    ),
    "parallel with rmsnorm": ({**GPTJ, "norm": "rmsnorm"}, "model.norm", "must be layernorm in PhiForCausalLM"),
    "parallel with wide heads": ({**GPTJ, "d_head": 12}, "model.d_head", "must be 8 in PhiForCausalLM"),
    "rope with wide heads": (
        {**GPTJ, "parallel_block": False, "d_head": 12}, "model.d_head", "must be 8 in GPTNeoXForCausalLM"
    ),
    "rope with grouped queries": (
        {**GPTJ, "parallel_block": False, "kv_heads": 2}, "model.parallel_block", "must be True in PhiForCausalLM"
    ),
    "gpt heads": (
        {**GPT, "d_model": 34, "d_head": 8}, "model.heads", "must divide d_model (34), whatever d_head is, in GPT2"
    ),
    "llama heads": (
        {**LLAMA, "d_model": 34, "d_head": 8}, "model.heads", "must divide d_model (34), whatever d_head is, in Llama"
    ),
}  # fmt: skip


def test_alibi_as_it_is_by_default() -> None:
    """All that MPT needs is told, not that GPT-2 has other positions."""
    with pytest.raises(ConfigError) as error:
        choose(model_of(positions="alibi"))
    found = {problem.field: problem.rule for problem in error.value.problems}
    assert found == {
        "model.activation": "must be gelu in MptForCausalLM",
        "model.bias": "must be False in MptForCausalLM",
    }


@pytest.mark.parametrize("case", REFUSED)
def test_models_that_no_architecture_holds(case: str) -> None:
    fields, field, rule = REFUSED[case]
    with pytest.raises(ConfigError) as error:
        choose(model_of(**fields))
    (problem,) = error.value.problems
    assert problem.field == field
    assert problem.rule.startswith(rule)


def test_bands_with_biases_of_queries(tmp_path: Path) -> None:
    """GPT-Neo has none: refused while they are not zero, before anything is written."""
    config = model_of(**{**NEO, "bias": True})
    write_imported(config, tmp_path / "ours")
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "ours" / "model.safetensors")
    weights["blocks.1.attention.qkv.bias"][3] = 0.25
    save_file(weights, tmp_path / "ours" / "model.safetensors")
    with pytest.raises(ConfigError) as error:
        export(tmp_path / "ours", tmp_path / "theirs")
    (problem,) = error.value.problems
    assert problem.field == "blocks.1.attention.qkv.bias"
    assert "GPTNeoForCausalLM has none of these" in problem.rule
    assert "0.25" in problem.rule
    assert "bias: false" in problem.fix
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


KEYS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "architecture": ("gpt2", {"architectures": ["BertForMaskedLM"], "model_type": "bert"}, "architectures", "BertFor"),
    "no architecture": ("gpt2", {"architectures": ..., "model_type": "bloom"}, "architectures", "bloom"),
    "two names": ("llama", {"model_type": "mistral"}, "architectures", "LlamaForCausalLM"),
    "activation": ("gpt2", {"activation_function": "relu"}, "activation_function", "relu"),
    "llama's activation": ("llama", {"hidden_act": "gelu"}, "hidden_act", "gelu"),
    "scaling by layer": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx", "True"),
    "no scaling": ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights", "False"),
    "cross attention": ("gpt2", {"add_cross_attention": True}, "add_cross_attention", "True"),
    "rope scaling, before 5": (
        "llama", {"rope_parameters": ..., "rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling", "linear"
    ),
    "rope scaling": (
        "llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "rope_type", "dynamic"
    ),
    "biases of attention alone": ("llama", {"attention_bias": True}, "mlp_bias", "False"),
    "sliding window": ("mistral", {"sliding_window": 8}, "sliding_window", "8"),
    "alternation": (
        "gpt-neo", {"attention_types": [[["local", "global"], 1], [["global"], 1]], "attention_layers": ...},
        "attention_types", "local",
    ),
    "llama on part of a head": (
        "llama", {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor", "0.5"
    ),
    "mpt without alibi": ("mpt", {"attn_config": {"alibi": False}}, "attn_config.alibi", "False"),
    "mpt clipped": ("mpt", {"attn_config": {"clip_qkv": 8.0}}, "attn_config.clip_qkv", "8.0"),
    "mpt scale": ("mpt", {"attn_config": {"softmax_scale": 0.5}}, "attn_config.softmax_scale", "0.5"),
    "mpt slopes": ("mpt", {"attn_config": {"alibi_bias_max": 4}}, "attn_config.alibi_bias_max", "4"),
    "mpt narrow": ("mpt", {"expansion_ratio": 2}, "expansion_ratio", "2"),
    "mpt logits": ("mpt", {"logit_scale": 0.5}, "logit_scale", "0.5"),
    "phi norms": ("phi", {"qk_layernorm": True}, "qk_layernorm", "True"),
    "phi's activation": ("phi", {"hidden_act": "relu"}, "hidden_act", "relu"),
    "neox in parallel": ("neox", {"use_parallel_residual": True}, "use_parallel_residual", "True"),
    "neox biases": ("neox", {"attention_bias": False}, "attention_bias", "False"),
    "neox scaled": (
        "neox", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "rope_type", "linear"
    ),
    "gpt-j turns nothing": ("gpt-j", {"rotary_dim": 0}, "rope_fraction", "0.0"),
    "quantized": ("llama", {"quantization_config": {"quant_method": "awq"}}, "quantization_config", "awq"),
    "code": ("gpt2", {"auto_map": {"AutoModelForCausalLM": "mine.Mine"}}, "auto_map", "mine.Mine"),
}  # fmt: skip


@pytest.mark.parametrize("case", KEYS)
def test_configurations_that_are_not_ours(case: str, tmp_path: Path) -> None:
    family, changes, key, value = KEYS[case]
    write_huggingface(tmp_path / "theirs", family)
    edit_config(tmp_path / "theirs", **changes)
    with pytest.raises(ConfigError) as error:
        import_model(tmp_path / "theirs", tmp_path / "ours")
    (problem,) = error.value.problems
    assert problem.field.startswith("config.json")
    assert key in problem.field
    assert value in str(problem.value)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]
