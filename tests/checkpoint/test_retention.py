"""Which checkpoints stay."""

from typing import Any

import pytest

from pretrain.checkpoint.retention import keep
from pretrain.checkpoint.state import TrainState
from pretrain.config.checkpoint import Checkpoint


def state(step: int) -> TrainState:
    return TrainState("id", step, step * 4, step * 1000, "", {}, "", "", "", "", {})


@pytest.mark.parametrize(
    ("config", "steps", "kept"),
    [
        ({"keep_last": 2}, [10, 20, 30, 40], {30, 40}),
        ({"keep_last": 5}, [10, 20], {10, 20}),
        ({"keep_last": 1, "keep_every": "25 steps"}, [10, 20, 30, 40, 50, 60], {30, 50, 60}),
        ({"keep_last": 1, "keep_every": "20000 tokens"}, [10, 20, 30, 40, 50], {20, 40, 50}),
    ],
)
def test_keep(config: dict[str, Any], steps: list[int], kept: set[int]) -> None:
    assert keep([state(step) for step in steps], Checkpoint.parse(config)) == kept


def test_what_is_kept_for_good_does_not_change_as_checkpoints_come_and_go() -> None:
    config = Checkpoint.parse({"keep_last": 2, "keep_every": "30 steps"})
    present: set[int] = set()
    for step in range(10, 200, 10):
        present |= {step}
        present = keep([state(step) for step in present], config)
    assert present == {30, 60, 90, 120, 150, 180, 190}
