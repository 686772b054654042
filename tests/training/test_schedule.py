"""Learning rates by hand."""

from typing import Any

import pytest

from pretrain.training.schedule import learning_rate
from tests.config.example import make_run


@pytest.mark.parametrize(
    ("schedule", "tokens", "rate"),
    [
        ({"warmup": 1000}, 1, 1e-6),
        ({"warmup": 1000}, 500, 5e-4),
        ({"warmup": 1000}, 1000, 1e-3),
        ({"warmup": 1000, "decay": 5000}, 3000, 0.55e-3),  # half way down from 1 to 0.1
        ({"warmup": 1000, "decay": 5000}, 2000, 1e-3 * (0.1 + 0.9 * 0.8535533905932737)),  # (1 + cos 45 deg) / 2
        ({"warmup": 1000, "decay": 5000}, 5000, 1e-4),
        ({"warmup": 1000, "decay": 5000}, 900_000, 1e-4),
        ({"warmup": 0}, 1_000_000, 1e-4),  # without `decay` the cosine ends with the run
        ({"warmup": 1000, "decay": 5000, "min_ratio": 0.0}, 5000, 0.0),
        ({"name": "constant", "warmup": 1000}, 500, 5e-4),
        ({"name": "constant", "warmup": 1000}, 900_000, 1e-3),
    ],
)
def test_by_hand(schedule: dict[str, Any], tokens: int, rate: float) -> None:
    assert learning_rate(make_run(schedule=schedule), tokens) == pytest.approx(rate, rel=1e-12)


def test_gpt3s_schedule() -> None:
    """Brown et al. 2020, Appendix B: warm-up over 375M tokens, cosine to 10% over 260B tokens."""
    run = make_run(
        train={"tokens": "300B"}, optimizer={"learning_rate": 0.6e-4}, schedule={"warmup": "375M", "decay": "260B"}
    )
    assert learning_rate(run, 375_000_000) == 0.6e-4
    assert learning_rate(run, 260_000_000_000) == pytest.approx(0.6e-5)
    assert learning_rate(run, 300_000_000_000) == pytest.approx(0.6e-5)
