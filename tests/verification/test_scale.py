"""Scaling keeps what a layout could get wrong. Expected numbers by hand, from docs/verify.md."""

from __future__ import annotations

import pytest

from pretrain.config.constraints import find_problems
from pretrain.config.layout import Layout
from pretrain.config.load import load_run
from pretrain.config.model import Model
from pretrain.config.run import Run
from pretrain.verification.layouts import settle, small_axes
from pretrain.verification.scale import small_model, small_run, small_tensor


def scaled(name: str, *overrides: str, axes: Layout = Layout(2, 2, 2)) -> Run:
    return small_run(load_run(name, overrides), axes, 20)


def of(tensor: int, **fields: object) -> Model:
    base = {"layers": 24, "d_model": 2048, "heads": 16, "context": 2048, "vocab_size": 50257}
    return Model.parse(small_model(Model.parse(base | fields), tensor))


def test_gpt3() -> None:
    small = scaled("gpt3-1.3b")
    model = small.model
    assert (model.layers, model.d_model, model.heads, model.kv_heads, model.d_head) == (4, 32, 4, None, 8)
    assert (model.d_ff, model.context, small.sequence_length) == (128, 32, 32)
    assert (model.vocab_size, model.padded_vocabulary) == (251, 256)
    assert (model.positions, model.norm, model.bias, model.tied_embeddings) == ("learned", "layernorm", True, True)
    assert (small.optimizer.learning_rate, small.optimizer.clip) == (2e-4, 1.0)
    assert small.precision.compute == "fp32"


def test_llama() -> None:
    model = scaled("llama-7b").model
    assert (model.positions, model.norm, model.bias, model.tied_embeddings) == ("rope", "rmsnorm", False, False)
    assert (model.activation, model.d_ff) == ("swiglu", 86)  # 11008 / 4096 x 32
    assert (model.vocab_size, model.padded_vocabulary) == (256, 256)


def test_gptj() -> None:
    """GPT-J turns 64 of 256 columns; of 10, 4: an even number."""
    model = of(2, positions="rope", rope_fraction=0.25, qk_norm=True, parallel_block=True, d_head=256)
    assert (model.d_head, model.rope_width, model.qk_norm, model.parallel_block) == (8, 4, True, True)
    assert of(2, positions="rope", rope_fraction=0.4, d_head=80).rope_width == 4
    assert of(3, heads=3, positions="rope", rope_fraction=2 / 7, d_head=7).rope_width == 2


def test_mup() -> None:
    """As many times wider than its base as the model is: 2048 / 256 = 8; scores by sqrt(64 / 128) as there."""
    mup = of(2, mup={"base_d_model": 256, "base_d_head": 64, "output_multiplier": 2}).mup
    assert mup is not None
    assert (mup.base_d_model, mup.base_d_head, mup.output_multiplier) == (4, 4, 2)


def test_a_large_learning_rate_is_lowered_and_an_unknown_vocabulary_is_padded() -> None:
    small = scaled("quickstart")
    assert small.optimizer.learning_rate == 1e-3
    assert (small.model.vocab_size, small.model.padded_vocabulary) == (251, 256)


@pytest.mark.parametrize(("layers", "expected"), [(96, 4), (25, 5), (4, 4), (3, 3), (1, 1)])
def test_layers(layers: int, expected: int) -> None:
    assert of(1, layers=layers).layers == expected


@pytest.mark.parametrize(
    ("heads", "kv_heads", "tensor", "expected"),
    [
        (16, 16, 2, (4, 4)),
        (32, 8, 2, (8, 2)),
        (32, 8, 4, (8, 2)),  # more ranks than key heads
        (32, 1, 2, (4, 1)),
        (40, 10, 5, (40, 10)),
        (25, 25, 5, (25, 25)),
        (25, 5, 1, (25, 5)),
    ],
)
def test_heads(heads: int, kv_heads: int, tensor: int, expected: tuple[int, int]) -> None:
    model = of(tensor, heads=heads, kv_heads=kv_heads, d_head=64)
    assert (model.heads, model.key_heads) == expected


@pytest.mark.parametrize(("width", "expected"), [(128, 8), (64, 8), (80, 10), (96, 10), (25, 25)])
def test_head_width(width: int, expected: int) -> None:
    assert of(1, d_head=width, d_model=16 * width).head_width == expected


def test_heads_that_are_not_the_width_of_the_model() -> None:
    assert of(1, d_head=256).d_model == 24  # heads 4 x 8, a quarter less
    assert of(1, d_head=64).d_model == 40


@pytest.mark.parametrize(
    ("vocabulary", "multiple", "tensor", "expected"),
    [
        (50257, 128, 1, (251, 256)),
        (32000, 128, 2, (256, 256)),
        (50257, 1, 1, (255, 255)),
        (50259, 1, 3, (255, 255)),
        (50257, 3, 3, (255, 255)),
        (50257, 128, 3, (283, 288)),
    ],
)
def test_vocabulary(vocabulary: int, multiple: int, tensor: int, expected: tuple[int, int]) -> None:
    model = of(tensor, vocab_size=vocabulary, vocab_multiple=multiple)
    assert (model.vocabulary, model.padded_vocabulary) == expected


def test_bands_dropout_and_kernel() -> None:
    model = of(1, bands={"every": 2, "width": 256}, dropout=0.1, attention="flex")
    assert model.bands is not None
    assert (model.bands.every, model.bands.width, model.dropout, model.attention) == (2, 4, 0.0, "auto")
    rare = of(1, bands={"every": 12, "width": 1})
    assert [rare.band_of(layer) for layer in range(4)] == [None, None, None, 1]


def test_batch_of_a_ramp_and_of_none() -> None:
    ramp = scaled("gpt3-1.3b").batch
    assert ramp.ramp is not None
    assert (ramp.ramp.start.amount, ramp.global_batch_size.amount) == (8, 16)
    assert ramp.ramp.tokens == 18 * 8 * 32  # the last 2 of 20 steps have 16
    even = scaled("llama-7b").batch
    assert (even.ramp, even.global_batch_size.amount) == (None, 8)


def test_what_a_run_says_of_its_data_is_left_out_but_for_masks() -> None:
    small = scaled("gpt3-125m", "data.document_mask=true", "data.mixture={a: 1}", "data.sequence_length=1024")
    assert small.data.document_mask
    assert small.data.mixture is None
    assert (small.sequence_length, small.model.context) == (28, 32)


@pytest.mark.parametrize(("tensor", "expected"), [(1, 1), (2, 2), (8, 2), (16, 4), (5, 5)])
def test_small_tensor(tensor: int, expected: int) -> None:
    run = load_run("llama-7b", ["model.heads=40", "model.kv_heads=10", "model.d_head=128"])
    assert small_tensor(run.model, tensor) == expected


@pytest.mark.parametrize(
    "parallel",
    ["{}", "{tensor: 8}", "{tensor: 2, pipe: 4}", "{pipe: 8}", "{pipe: 4, schedule: dualpipev}", "{zero: 3}", "auto"],
)
@pytest.mark.parametrize("model", ["gpt3-125m", "gpt3-2.7b", "gpt3-13b", "gpt3-175b", "llama-7b", "llama-65b"])
@pytest.mark.parametrize("processes", [1, 2, 8])
def test_every_scaled_run_satisfies_the_rules(model: str, parallel: str, processes: int) -> None:
    overrides = [f"model={model}", f"parallel={parallel}"]
    if model == "gpt3-125m":
        overrides[0] = "model={preset: gpt3-125m, heads: 16, kv_heads: 2, d_head: 48}"
    run = settle(load_run("llama-7b", overrides))
    axes = small_axes(run, processes)
    assert axes.processes <= processes
    dropped = axes.pipe == 1 and run.parallel.pipe > 1
    if not dropped:
        assert not find_problems(small_run(run, axes, 20), axes.processes)
