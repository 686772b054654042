"""How attention is spread, by hand and against all scores written out."""

from __future__ import annotations

import math

import pytest
import torch

from pretrain.model.attention import Sight, boolean_mask
from pretrain.model.entropy import spread

T, D = 12, 4


def sight(start: list[int] | None = None, width: int | None = None) -> Sight:
    own = torch.arange(T)
    return Sight(1, own, T, None if start is None else torch.tensor([start]), width)


def test_equal_scores_spread_evenly() -> None:
    """Query i sees i + 1 keys: entropy log(i + 1); of 3 queries the 4th, 8th and 12th are looked at."""
    zero = torch.zeros(2, T, D)
    found = spread(zero, zero, sight(), 3)
    assert found.entropy == pytest.approx(torch.tensor([[math.log(n) for n in (4, 8, 12)]] * 2))
    assert found.largest == 0


def test_one_key_takes_all() -> None:
    """Scores 100 apart: no entropy. The largest is 10 * 20 / sqrt(4)."""
    q = torch.zeros(1, T, D)
    q[..., 0] = 10.0
    k = torch.zeros(1, T, D)
    k[0, 0, 0] = 20.0
    found = spread(q, k, sight(), T)
    assert found.entropy.max() < 1e-6
    assert found.largest == 100


@pytest.mark.parametrize("width", [None, 3])
@pytest.mark.parametrize("start", [None, [0] * 5 + [5] * 7])
def test_every_query_of_grouped_heads(start: list[int] | None, width: int | None) -> None:
    """Against softmax over all scores with the mask that training uses, keys repeated for the heads that share them."""
    q, k = torch.randn(4, T, D, generator=torch.Generator().manual_seed(1)), torch.randn(2, T, D)
    scores = (q @ k.repeat_interleave(2, dim=0).mT / 2).masked_fill(~boolean_mask(sight(start, width))[0], -math.inf)
    weights = scores.softmax(-1)
    found = spread(q, k, sight(start, width), 1000)
    assert found.entropy == pytest.approx(-(weights * weights.clamp(min=1e-30).log()).sum(-1), abs=1e-5)
    assert found.largest == pytest.approx(scores.amax().item())


def test_alibi_makes_attention_narrow() -> None:
    """Equal scores, slopes 0 and 100: one head spreads evenly, the other sees its own token alone."""
    zero = torch.zeros(2, T, D)
    found = spread(zero, zero, sight()._replace(slopes=torch.tensor([0.0, 100.0])), 1)
    assert found.entropy == pytest.approx(torch.tensor([[math.log(12)], [0.0]]), abs=1e-6)
