"""Counts from the configuration against the modules, the papers and hand calculation; the shipped presets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pretrain.config.counts import flops_per_token, mlp_matrices, mlp_vectors, parameter_count
from pretrain.config.model import Model
from pretrain.model.transformer import Transformer
from tests.model.builders import GPT, GPTJ, LLAMA, small

PRESETS = Path(__file__).parents[2] / "configs" / "models"


def preset(name: str, **fields: Any) -> Model:
    return Model.parse({**yaml.safe_load((PRESETS / f"{name}.yaml").read_text()), **fields})


@pytest.mark.parametrize(
    ("name", "parameters", "nominal"),
    [
        # 12 L C^2 + 13 L C + 2 C + (50257 + context) C
        ("gpt3-125m", 125_226_240, 125e6),
        ("gpt3-350m", 355_871_744, 350e6),
        ("gpt3-760m", 760_300_032, 760e6),
        ("gpt3-1.3b", 1_315_723_264, 1.3e9),
        ("gpt3-2.7b", 2_651_553_280, 2.7e9),
        ("gpt3-6.7b", 6_658_404_352, 6.7e9),
        ("gpt3-13b", 12_853_386_240, 13e9),
        ("gpt3-175b", 174_604_259_328, 175e9),
        ("gpt2-1.5b", 1_557_611_200, 1.56e9),  # as released
        ("llama-7b", 6_738_415_616, 6.7e9),  # as released
        ("llama-13b", 13_015_864_320, 13.0e9),
        ("llama-33b", 32_528_943_616, 32.5e9),
        ("llama-65b", 65_285_660_672, 65.2e9),
        ("hyperclova-204b", 204_870_641_664, 204e9),  # with the vocabulary of configs/data/korean.yaml
    ],
)
def test_published_sizes(name: str, parameters: int, nominal: float) -> None:
    model = preset(name) if name != "hyperclova-204b" else preset(name, vocab_size=51_200)
    assert parameter_count(model).total == parameters
    assert parameters == pytest.approx(nominal, rel=0.025)


def test_every_preset_is_here() -> None:
    sizes = {"gpt3": "125m 350m 760m 1.3b 2.7b 6.7b 13b 175b", "gpt2": "1.5b", "llama": "7b 13b 33b 65b"}
    sizes["hyperclova"] = "204b"
    expected = {f"{family}-{size}" for family, names in sizes.items() for size in names.split()} | {"tiny"}
    assert {path.stem for path in PRESETS.glob("*.yaml")} >= expected
    assert all(preset(path.stem, vocab_size=512) for path in PRESETS.glob("*.yaml"))
    assert preset("tiny").vocab_size is None


@pytest.mark.parametrize(
    "fields",
    [
        GPT,
        {**GPT, "bias": False, "positions": "none"},
        {**GPT, "tied_embeddings": False, "d_head": 10, "vocab_size": 128},
        {**GPT, "activation": "swiglu"},
        LLAMA,
        {**LLAMA, "kv_heads": 2, "d_head": 24, "d_ff": 50, "tied_embeddings": True},
        {**LLAMA, "bias": True, "kv_heads": 1},
        {**GPT, "positions": "alibi"},
        {**GPT, "qk_norm": True, "d_head": 10},
        {**LLAMA, "kv_heads": 2, "qk_norm": True},
        {**GPTJ, "qk_norm": True},
    ],
)
def test_counts_are_the_modules(fields: dict[str, Any]) -> None:
    config = small(**fields)
    with torch.device("meta"):
        model = Transformer(config)
    counts = parameter_count(config)
    embedding = model.embedding.positions
    assert counts.stored == sum(parameter.numel() for parameter in model.parameters())
    assert counts.blocks == sum(parameter.numel() for parameter in model.blocks.parameters())
    assert counts.final_norm == sum(parameter.numel() for parameter in model.head.norm.parameters())
    assert counts.positions == (embedding.weight.numel() if embedding else 0)
    assert counts.embedding == 32 * config.vocabulary
    assert counts.padding == (config.padded_vocabulary - config.vocabulary) * 32 * (2 - config.tied_embeddings)
    assert counts.total == counts.stored - counts.padding
    assert counts.non_embedding == counts.blocks + counts.final_norm


def test_flops_literals() -> None:
    # 6 (12 x 12 x 768^2 + 50257 x 768) + 12 x 768 x 12 x 2048
    assert flops_per_token(preset("gpt3-125m"), 2048) == 967_684_608
    # six layers see 2048 tokens and six see 256: 741192192 + 12 x 768 x 13824
    assert flops_per_token(preset("gpt3-125m", bands={"width": 256}), 2048) == 868_594_176
    # at T 128 a band of 256 hides nothing: 741192192 + 12 x 768 x 12 x 128
    assert flops_per_token(preset("gpt3-125m", bands={"width": 256}), 128) == 755_347_968
    # 6 (32 (4 x 4096^2 + 3 x 4096 x 11008) + 32000 x 4096) + 12 x 4096 x 32 x 2048
    assert flops_per_token(preset("llama-7b"), 2048) == 42_863_689_728


def test_flops_ignore_padding_and_know_grouped_queries() -> None:
    assert flops_per_token(small(vocab_multiple=1), 8) == flops_per_token(small(), 8)
    # two of four key heads are gone: 2 x 2 x 8 rows of 32 in each of 3 layers
    assert flops_per_token(small(), 8) - flops_per_token(small(kv_heads=2), 8) == 6 * 3 * 32 * 32


def test_counts_need_no_torch() -> None:
    code = "import sys, pretrain.config.counts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("name", "matrices", "vectors"), [("MLP", 8192, 160), ("GatedMLP", 12288, 288)])
def test_an_own_mlp_is_counted_from_itself(name: str, matrices: int, vectors: int) -> None:
    model = small(layers=1, d_model=32, mlp={"class": f"pretrain.model.layers.{name}"})
    assert (mlp_matrices(model), mlp_vectors(model)) == (matrices, vectors)
    assert parameter_count(model).stored == sum(p.numel() for p in Transformer(model).parameters())
