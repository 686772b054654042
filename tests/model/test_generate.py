"""Sampling by hand-calculated probabilities; the cache against reading everything again."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pretrain.config.errors import ConfigError
from pretrain.model.cache import Cache
from pretrain.model.generate import Sampling, generate
from pretrain.model.transformer import Transformer
from tests.model.builders import STYLES, build, small, tokens

LOGITS = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [0.1, 0.4, 0.2, 0.3]),
        (Sampling(temperature=0), [0, 1, 0, 0]),
        (Sampling(temperature=0.5), [1 / 30, 16 / 30, 4 / 30, 9 / 30]),
        (Sampling(temperature=1e-8), [0, 1, 0, 0]),
        (Sampling(top_k=1), [0, 1, 0, 0]),
        (Sampling(top_k=2), [0, 4 / 7, 0, 3 / 7]),
        (Sampling(top_k=9), [0.1, 0.4, 0.2, 0.3]),
        (Sampling(top_p=0.39), [0, 1, 0, 0]),
        (Sampling(top_p=0.41), [0, 4 / 7, 0, 3 / 7]),
        (Sampling(top_p=0.71), [0, 4 / 9, 2 / 9, 3 / 9]),
        (Sampling(top_p=1e-9), [0, 1, 0, 0]),
        (Sampling(top_k=3, top_p=0.5), [0, 4 / 7, 0, 3 / 7]),  # of 4/9, 3/9, 2/9 the first two reach a half
        (Sampling(temperature=0.5, top_k=3, top_p=0.6), [0, 16 / 25, 0, 9 / 25]),
    ],
)
def test_probabilities(sampling: Sampling, expected: list[float]) -> None:
    assert sampling.probabilities(LOGITS).tolist() == pytest.approx(expected, abs=1e-7)


def test_of_equals_the_lower_id_is_kept() -> None:
    assert Sampling(top_k=2).probabilities(torch.zeros(5000))[:3].tolist() == [0.5, 0.5, 0]


def test_huge_logits_do_not_overflow() -> None:
    found = Sampling(temperature=0.01).probabilities(torch.tensor([3e38, 3e38, -3e38]))
    assert found.tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize("attention", ["plain", "sdpa"])
@pytest.mark.parametrize("bands", [None, {"every": 2, "width": 5}])
@pytest.mark.parametrize("style", STYLES)
def test_cached_logits_equal_uncached(style: str, bands: dict[str, int] | None, attention: str) -> None:
    config = small(**STYLES[style], bands=bands, attention=attention)
    model = build(config)
    inputs, _ = tokens(config, 2, 20)
    whole = model.logits(inputs)
    cache = Cache(config, batch=2, capacity=20)
    parts = [model.logits(part, cache=cache) for part in inputs.split([7, 1, 4, 1, 1, 6], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)
    assert cache.length == 20 and cache.keys.shape == (3, 2, config.key_heads, 20, 8)
    with pytest.raises(ValueError, match="holds 20 tokens, 21 were given"):
        model.logits(inputs[:, :1], cache=cache)


def test_cache_holds_one_document() -> None:
    config = small()
    inputs, _ = tokens(config, 1, 4)
    with pytest.raises(ValueError, match="one document per row"):
        build(config).logits(inputs, torch.zeros_like(inputs), Cache(config))


@pytest.mark.parametrize("style", ["gpt", "llama", "llama-gqa", "none", "alibi"])
def test_same_tokens_with_and_without_cache(style: str) -> None:
    """Far past the context, from a prompt longer than it, drawn and greedy."""
    model = build(small(**STYLES[style]))
    prompt = tokens(model.config, 1, 30)[0][0].tolist()
    for start in (prompt, prompt[:5]):
        for how in ({"temperature": 0.0}, {"temperature": 0.9, "top_k": 20, "top_p": 0.9, "seed": 3}):
            cached, read = (list(generate(model, start, 60, **how, use_cache=use)) for use in (True, False))
            assert cached == read and len(cached) == 60 and len(set(cached)) > 1


def test_greedy_is_the_likeliest_of_the_logits() -> None:
    model = build(small())
    ids = [5, 17, 3]
    for token in generate(model, list(ids), 12, temperature=0):
        assert token == model.logits(torch.tensor([ids]))[0, -1].argmax()
        ids.append(token)
    assert len(ids) == 15


def test_full_context_is_read_again_from_its_last_half(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    inner = Transformer.logits

    def spy(self: Transformer, inputs: torch.Tensor, **more: Any) -> torch.Tensor:
        read.append(inputs.shape[1])
        return inner(self, inputs, **more)

    monkeypatch.setattr(Transformer, "logits", spy)
    model = build(small(context=8))
    list(generate(model, [1, 2, 3, 4, 5, 6], 8))
    assert read == [6, 1, 1, 4, 1, 1, 1, 1]
    read.clear()
    list(generate(model, list(range(11)), 2))
    assert read == [8, 4]


def test_seed_decides() -> None:
    model = build(small())
    torch.manual_seed(1)
    first = list(generate(model, [1], 20, seed=1))
    torch.manual_seed(2)
    assert first == list(generate(model, [1], 20, seed=1))
    assert first != list(generate(model, [1], 20, seed=2))
    assert all(0 <= token < 97 for token in first)


def test_ends_before_the_stop_token() -> None:
    model = build(small())
    free = list(generate(model, [1], 20, seed=1))
    stop = free[7]
    assert list(generate(model, [1], 20, seed=1, stop=stop)) == free[: free.index(stop)]


def test_the_model_is_left_as_it_was() -> None:
    """No dropout while generating, and training goes on after."""
    model = build(small(dropout=0.5)).train()
    drawn = generate(model, [1], 20, temperature=0)
    first = next(drawn)
    assert model.training
    assert [first, *drawn] == list(generate(build(small()), [1], 20, temperature=0)) and model.training


@pytest.mark.parametrize(
    ("prompt", "how", "field"),
    [
        ([], {}, "prompt"),
        ([3, 97], {}, "prompt"),
        ([-1], {}, "prompt"),
        ([1], {"temperature": -0.1}, "temperature"),
        ([1], {"top_k": -1}, "top_k"),
        ([1], {"top_p": 0.0}, "top_p"),
        ([1], {"top_p": 1.1}, "top_p"),
    ],
)
def test_refused_at_once(prompt: list[int], how: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as error:
        generate(build(small()), prompt, 5, **how)
    assert [problem.field for problem in error.value.problems] == [field]
