"""Directories of Hugging Face that are not what they should be, and what an import leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from pretrain.checkpoint.huggingface.export import export
from pretrain.checkpoint.huggingface.import_ import import_model
from pretrain.checkpoint.huggingface.sources import Imported
from pretrain.checkpoint.huggingface.weights import build
from pretrain.cli.main import app
from pretrain.config.errors import ConfigError
from pretrain.parallel.cuts import cut_of
from tests.checkpoint.huggingface.models import (
    VOCABULARY,
    byte_tokenizer,
    edit_config,
    model_of,
    write_huggingface,
    write_imported,
)
from tests.model.builders import GPT, GPTJ, LLAMA
from tokenizer import load_tokenizer

Change = Callable[[dict[str, Tensor]], object]


def rewrite(directory: Path, change: Change) -> None:
    """Change the tensors of a directory."""
    weights = load_file(directory / "model.safetensors")
    change(weights)
    save_file(weights, directory / "model.safetensors", {"format": "pt"})


WHAT = "transformer.h.1.mlp.c_fc.weight"
TENSORS: dict[str, tuple[Change, str, str]] = {
    "missing": (lambda w: w.pop(WHAT), WHAT, "is missing"),
    "wrong shape": (lambda w: w.update({WHAT: w[WHAT].T.contiguous()}), WHAT, r"must have the shape \(32, 128\)"),
    "extra": (lambda w: w.update({"transformer.h.3.ln_1.weight": torch.ones(32)}), "h.3.ln_1", "is no part of"),
    "another type": (lambda w: w.update({WHAT: w[WHAT].to(torch.int8)}), WHAT, "is of type I8, must be one of F32"),
    "another head": (
        lambda w: w.update({"lm_head.weight": torch.ones(VOCABULARY, 32)}),
        "tie_word_embeddings",
        "lm_head.weight is another matrix",
    ),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors(case: str, tmp_path: Path) -> None:
    change, field, rule = TENSORS[case]
    write_huggingface(tmp_path / "theirs", "gpt2")
    rewrite(tmp_path / "theirs", change)
    with pytest.raises(ConfigError, match=rule) as error:
        import_model(tmp_path / "theirs", tmp_path / "ours")
    (problem,) = error.value.problems
    assert field in problem.field
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_an_untied_head_that_is_missing(tmp_path: Path) -> None:
    write_huggingface(tmp_path / "theirs", "llama")
    rewrite(tmp_path / "theirs", lambda w: w.pop("lm_head.weight"))
    with pytest.raises(ConfigError, match=r"tensor lm_head.weight[\s\S]*is missing"):
        import_model(tmp_path / "theirs", tmp_path / "ours")


def test_files_as_the_hub_has_them(tmp_path: Path) -> None:
    """GPT-2's: without the prefix, with the masks that older versions saved, and with the tied head twice."""
    write_huggingface(tmp_path / "theirs", "gpt2")
    import_model(tmp_path / "theirs", tmp_path / "ours", check=False)

    def older(weights: dict[str, Tensor]) -> None:
        bare = {name.removeprefix("transformer."): value for name, value in weights.items()}
        weights.clear()
        weights |= bare
        weights["h.0.attn.bias"] = torch.ones(1, 1, 24, 24)
        weights["h.0.attn.masked_bias"] = torch.tensor(-1e4)
        weights["lm_head.weight"] = bare["wte.weight"].clone()

    rewrite(tmp_path / "theirs", older)
    import_model(tmp_path / "theirs", tmp_path / "again", check=False)
    written = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("ours", "again")]
    assert written[0] == written[1]


def test_shards(tmp_path: Path) -> None:
    model = write_huggingface(tmp_path / "whole", "llama")
    model.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    byte_tokenizer().save(tmp_path / "theirs")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 3
    import_model(tmp_path / "theirs", tmp_path / "ours", shard_bytes=20_000)
    ids = torch.arange(20)[None]
    torch.testing.assert_close(build(Imported(tmp_path / "ours")).logits(ids), model(ids).logits, atol=1e-5, rtol=1e-5)
    next(iter((tmp_path / "theirs").glob("*.safetensors"))).unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        import_model(tmp_path / "theirs", tmp_path / "other")


def test_a_pickle(tmp_path: Path) -> None:
    """Says why, and how to convert it."""
    write_huggingface(tmp_path / "theirs", "gpt2")
    (tmp_path / "theirs" / "model.safetensors").rename(tmp_path / "theirs" / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pytorch_model.bin: a pickle runs whatever code it holds") as error:
        import_model(tmp_path / "theirs", tmp_path / "ours")
    assert "save_pretrained" in error.value.problems[0].fix


def test_half_a_file(tmp_path: Path) -> None:
    write_huggingface(tmp_path / "theirs", "gpt2")
    path = tmp_path / "theirs" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="cannot be read"):
        import_model(tmp_path / "theirs", tmp_path / "ours")


def test_no_weights_no_configuration_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config.json[\s\S]*cannot be read"):
        import_model(tmp_path / "nothing", tmp_path / "ours")
    write_huggingface(tmp_path / "theirs", "gpt2")
    (tmp_path / "theirs" / "model.safetensors").rename(tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"has neither model.safetensors nor"):
        import_model(tmp_path / "theirs", tmp_path / "ours")
    (tmp_path / "model.safetensors").rename(tmp_path / "theirs" / "model.safetensors")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "theirs" / name).unlink()
    with pytest.raises(ConfigError, match="has no tokenizer"):
        import_model(tmp_path / "theirs", tmp_path / "ours")
    (tmp_path / "theirs" / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config.json[\s\S]*cannot be read"):
        import_model(tmp_path / "theirs", tmp_path / "ours")


def test_a_tokenizer_without_end_of_text(tmp_path: Path) -> None:
    write_huggingface(tmp_path / "theirs", "gpt2", byte_tokenizer(None))
    with pytest.raises(ConfigError, match="has no end-of-text token"):
        import_model(tmp_path / "theirs", tmp_path / "ours")


def test_a_tokenizer_larger_than_the_embedding(tmp_path: Path) -> None:
    write_huggingface(tmp_path / "theirs", "gpt2", vocab_size=250)
    with pytest.raises(ConfigError, match="has 257 entries, the embedding has 250 rows"):
        import_model(tmp_path / "theirs", tmp_path / "ours")


def test_sizes_that_no_model_has(tmp_path: Path) -> None:
    write_huggingface(tmp_path / "theirs", "llama")
    edit_config(tmp_path / "theirs", num_key_value_heads=3)
    with pytest.raises(ConfigError, match=r"kv_heads \(3\) must divide heads \(4\)"):
        import_model(tmp_path / "theirs", tmp_path / "ours")


def test_biases_that_should_not_be(tmp_path: Path) -> None:
    """`bias: false` in config.json is what our export of a model without biases says."""
    write_huggingface(tmp_path / "theirs", "gpt2")
    edit_config(tmp_path / "theirs", bias=False)
    with pytest.raises(ConfigError, match=r"no biases, but transformer.h.0.ln_1.bias must be zero"):
        import_model(tmp_path / "theirs", tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


@pytest.mark.parametrize("family", ["phi", "phi grouped, tied", "gpt-j"])
def test_a_bias_of_the_head(family: str, tmp_path: Path) -> None:
    """Ours has none: only one of zeros is read."""
    write_huggingface(tmp_path / "theirs", family)
    rewrite(tmp_path / "theirs", lambda w: w["lm_head.bias"].__setitem__(7, -0.25))
    with pytest.raises(ConfigError, match=r"no such bias: lm_head.bias must be zero; the largest of its 260 .* 0.25"):
        import_model(tmp_path / "theirs", tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


@pytest.mark.parametrize("letter", ["q", "k", "v"])
def test_biases_of_queries_keys_and_values_that_should_not_be(letter: str, tmp_path: Path) -> None:
    write_imported(model_of(**{**GPTJ, "bias": False, "kv_heads": 2}), tmp_path / "ours")
    export(tmp_path / "ours", tmp_path / "theirs", check=False)
    name = f"model.layers.1.self_attn.{letter}_proj.bias"
    rewrite(tmp_path / "theirs", lambda w: w[name].__setitem__(0, 0.25))
    with pytest.raises(ConfigError, match=f"no biases, but {name} must be zero"):
        import_model(tmp_path / "theirs", tmp_path / "back")


def test_a_gpt_neox_without_its_head(tmp_path: Path) -> None:
    """The prefix is left out in files of the model alone, and its head has another name than everyone's."""
    write_huggingface(tmp_path / "theirs", "neox")
    import_model(tmp_path / "theirs", tmp_path / "ours", check=False)

    def bare(weights: dict[str, Tensor]) -> None:
        for name in list(weights):
            weights[name.removeprefix("gpt_neox.")] = weights.pop(name)
        weights["layers.0.attention.bias"] = torch.ones(1, 1, 24, 24)
        weights["layers.0.attention.rotary_emb.inv_freq"] = torch.ones(4)

    rewrite(tmp_path / "theirs", bare)
    import_model(tmp_path / "theirs", tmp_path / "again", check=False)
    written = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("ours", "again")]
    assert written[0] == written[1]


def test_what_it_leaves(tmp_path: Path) -> None:
    write_huggingface(tmp_path / "theirs", "mistral")
    result = CliRunner().invoke(app, ["import", str(tmp_path / "theirs"), "--to", str(tmp_path / "ours")])
    assert result.exit_code == 0, result.output
    assert "MistralForCausalLM" in result.output
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == [
        "import.json",
        "model.safetensors",
        "model.yaml",
        "tokenizer",
    ]
    plain = json.loads((tmp_path / "ours" / "import.json").read_text())
    assert plain["format_version"] == 1
    assert plain["imported_from"] == str(tmp_path / "theirs")
    assert plain["tokenizer_fingerprint"] == byte_tokenizer().fingerprint
    assert plain["end_of_text"] == 256
    assert plain["largest_logit_difference"] < 1e-5
    assert load_tokenizer(tmp_path / "ours" / "tokenizer").fingerprint == byte_tokenizer().fingerprint
    fields = yaml.safe_load((tmp_path / "ours" / "model.yaml").read_text())
    assert (fields["layers"], fields["kv_heads"], fields["d_ff"], fields["positions"]) == (3, 2, 48, "rope")


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("style", [GPT, {**LLAMA, "kv_heads": 2}, GPTJ])
def test_parts_of_tensor_ranks(style: dict[str, object], size: int, tmp_path: Path) -> None:
    """Put together they are the parameter with padding rows of zero."""
    config = model_of(**style)
    weights = write_imported(config, tmp_path / "ours")
    imported = Imported(tmp_path / "ours")
    assert config.padded_vocabulary == 384
    for name, value in weights.items():
        whole = value
        if len(value) == VOCABULARY:
            whole = torch.cat([value, torch.zeros(124, value.shape[1])])
        for rank in range(size):
            cut = cut_of(config, name, whole.shape, rank, size)
            assert torch.equal(imported.part(name, rank, size), whole if cut is None else cut.of(whole)), name
