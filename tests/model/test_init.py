"""Initial weights depend on seed, name and index alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pretrain.model import init
from pretrain.model.init import initial, initialize, normal
from pretrain.model.transformer import Transformer, build_layers, layer_names
from tests.model.builders import STYLES, small

NAME = "blocks.0.attention.qkv.weight"


def test_first_numbers() -> None:
    """Change these and every run with the same seed starts elsewhere."""
    assert normal(1234, NAME, (2, 3), 1.0).tolist() == [
        [1.0285664796829224, 1.9971923828125, 0.1867331713438034],
        [0.6942707896232605, 0.737421452999115, -0.9484228491783142],
    ]
    assert normal(1235, NAME, (2,), 1.0).tolist() == [-0.010692919604480267, -1.196795105934143]
    assert normal(1234, "head.weight", (2,), 1.0).tolist() == [-1.2005606889724731, -0.5971184968948364]


def test_element_is_box_muller_of_its_own_draw() -> None:
    draws = np.random.Philox(key=init._key(5, "x"), counter=0).random_raw(11)
    high, low = divmod(int(draws[10]), 2**32)
    expected = math.sqrt(-2 * math.log((high + 1) / 2**32)) * math.cos(2 * math.pi * low / 2**32)
    assert normal(5, "x", (11,), 0.5)[10].item() == np.float32(0.5 * expected)


def test_extreme_draws_are_finite() -> None:
    """All zeros: sqrt(64 ln 2) at angle 0. All ones: radius sqrt(-2 ln 1)."""
    first, last = init._box_muller(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert first == pytest.approx(6.6604368, abs=1e-7) and last == 0


@pytest.mark.parametrize("chunk", [2**16, 8, 5, 1])
@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (slice(3, 7), None),
        (slice(0, 1), None),
        (slice(9, None), None),
        (None, slice(5, 8)),
        (slice(2, 9), slice(0, 6)),
        (slice(10, 11), slice(12, 13)),
        (slice(4, 4), None),
    ],
)
def test_slice_equals_slice_of_the_whole(
    rows: slice | None, columns: slice | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = normal(7, "x", (11, 13), 0.02)
    monkeypatch.setattr(init, "CHUNK", chunk)
    part = normal(7, "x", (11, 13), 0.02, rows, columns)
    assert torch.equal(part, whole[rows or slice(None), columns or slice(None)])
    assert part.dtype == torch.float32 and part.is_contiguous()


def test_a_slice_draws_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    inner = init._box_muller
    monkeypatch.setattr(init, "_box_muller", lambda draws: drawn.append(len(draws)) or inner(draws))
    normal(7, "x", (10**9, 4096), 1.0, slice(10**9 - 2, 10**9), slice(8, 24))
    assert sum(drawn) == 32


def test_distribution() -> None:
    """A million draws: moments and tails of the normal within five standard errors."""
    x = normal(0, "x", (1000, 1000), 1.0).double()
    assert abs(x.mean()) < 5e-3 and abs(x.std() - 1) < 3.6e-3
    assert abs(x.pow(3).mean()) < 2e-2 and abs(x.pow(4).mean() - 3) < 5e-2
    assert abs((x.abs() > 2).double().mean() - 0.04550) < 1.1e-3
    assert abs((x[:, 1:] * x[:, :-1]).mean()) < 5e-3 and x.abs().max() < 6.67


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("embedding.tokens.weight", 0.02),
        ("embedding.positions.weight", 0.02),
        ("blocks.1.attention.qkv.weight", 0.02),
        ("blocks.1.attention.out.weight", 0.005),
        ("blocks.1.mlp.up.weight", 0.02),
        ("blocks.1.mlp.gate.weight", 0.02),
        ("blocks.1.mlp.down.weight", 0.005),
        ("head.weight", 0.02),
    ],
)
def test_residual_projections_are_scaled_by_depth(name: str, std: float) -> None:
    """8 layers: 0.02 / sqrt(16) = 0.005."""
    assert initial(small(layers=8), 0, name, (300, 300)).std().item() == pytest.approx(std, rel=0.02)


def test_vectors() -> None:
    assert initial(small(), 0, "blocks.0.mlp_norm.weight", (3,)).tolist() == [1, 1, 1]
    assert initial(small(), 0, "blocks.0.mlp_norm.bias", (3,)).tolist() == [0, 0, 0]
    assert initial(small(), 0, "blocks.0.attention.qkv.bias", (9,), slice(2, 4)).tolist() == [0, 0]


@pytest.mark.parametrize("style", STYLES)
def test_meta_construction_equals_cpu(style: str) -> None:
    config = small(**STYLES[style])
    on_cpu = Transformer(config)
    with torch.device("meta"):
        on_meta = Transformer(config)
    assert all(parameter.is_meta for parameter in on_meta.parameters())
    initialize(on_cpu, config, 42)
    initialize(on_meta, config, 42)
    assert list(on_cpu.state_dict()) == list(on_meta.state_dict())
    for name, value in on_cpu.state_dict().items():
        assert torch.equal(value, on_meta.state_dict()[name]), name
    assert (on_meta.head.weight is on_meta.embedding.tokens.weight) == config.tied_embeddings


@pytest.mark.parametrize("tied", [True, False])
def test_layers_alone_equal_the_whole_model(tied: bool) -> None:
    """Every pipeline cut gives the same weights, a head without its embedding too."""
    config = small(tied_embeddings=tied)
    model = Transformer(config)
    initialize(model, config, 42)
    whole, parts = model.state_dict(), {}
    for name in layer_names(config):
        layer = build_layers(config)[layer_names(config).index(name)]
        initialize(layer, config, 42, prefix=f"{name}.")
        parts |= {f"{name}.{key}": value for key, value in layer.state_dict().items()}
    assert list(parts) == list(whole)
    assert all(torch.equal(parts[name], whole[name]) for name in whole)
    assert torch.equal(whole["head.weight"], whole["embedding.tokens.weight"]) == tied


def test_padding_does_not_change_the_weights() -> None:
    first, second = (small(vocab_multiple=multiple) for multiple in (1, 128))
    a = initial(first, 0, "embedding.tokens.weight", (first.padded_vocabulary, 32))
    b = initial(second, 0, "embedding.tokens.weight", (second.padded_vocabulary, 32))
    assert len(a) == 97 and len(b) == 128 and torch.equal(a, b[:97])


def test_first_loss_is_that_of_guessing() -> None:
    config = small(layers=2)
    model = Transformer(config)
    initialize(model, config, 0)
    ids = torch.randint(97, (8, 25), generator=torch.Generator().manual_seed(0))
    loss = model(ids[:, :-1], ids[:, 1:]).total / (8 * 24)
    assert loss.item() == pytest.approx(math.log(97), abs=0.02)


def test_mup_shrinks_the_matrices_of_blocks() -> None:
    """m = 4: they are drawn with half the deviation (Yang et al. 2022, Table 8); embeddings and head are as before."""
    plain, mup = small(tied_embeddings=False), small(tied_embeddings=False, mup={"base_d_model": 8})
    for name, parameter in Transformer(plain).named_parameters():
        usual, found = (initial(config, 3, name, tuple(parameter.shape)) for config in (plain, mup))
        hidden = name.startswith("blocks.") and parameter.ndim == 2
        torch.testing.assert_close(found, usual / 2 if hidden else usual, rtol=1e-6, atol=0)
