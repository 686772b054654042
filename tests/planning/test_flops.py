"""Executed operations per token by hand: C = 64, 2 layers, T = 128."""

import pytest

from pretrain.planning.flops import Flops, step_flops
from tests.config.example import make_run

MATRICES = 12 * 64**2
CORE = 4 * 64 * 128
MODEL = 6 * (2 * MATRICES + 256 * 64) + 2 * 3 * CORE


def test_without_recompute() -> None:
    flops = step_flops(make_run(model={"vocab_size": 256}))
    assert flops == Flops(MODEL, 0, 0) and flops.factor == 1


def test_padding_of_the_vocabulary() -> None:
    """200 tokens in 256 rows."""
    flops = step_flops(make_run(model={"vocab_size": 200}))
    assert flops.padding == 6 * 56 * 64 and flops.executed == MODEL


RECOMPUTED = {
    "selective": ({"recompute": "selective"}, {}, 2 * CORE),
    "selective, plain": ({"recompute": "selective"}, {"attention": "plain"}, CORE),
    "full": ({"recompute": "full"}, {}, 2 * (2 * 8 * 64**2 + CORE)),
    "every 2": ({"recompute": "full", "recompute_every": 2}, {}, 2 * 8 * 64**2 + CORE),
}
"""name: (parallel, model, operations); full leaves out the MLP's last matrix of 4 C^2."""


@pytest.mark.parametrize("name", RECOMPUTED)
def test_recompute(name: str) -> None:
    parallel, model, expected = RECOMPUTED[name]
    run = make_run(model={"vocab_size": 256, **model}, parallel=parallel)
    assert step_flops(run) == Flops(MODEL, 0, expected)
