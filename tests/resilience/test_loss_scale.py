"""The loss scale of fp16, step by step as Megatron-LM's rule gives it by hand, and the verdict on an overflow."""

from __future__ import annotations

import json
from itertools import accumulate

import pytest

from pretrain.config.precision import LossScale as Config
from pretrain.config.spikes import Spikes
from pretrain.resilience.loss_scale import LossScale
from pretrain.resilience.spikes import History, Verdict, judge

CONFIG = Config(initial=8, window=3, hysteresis=2, minimum=1)
INF = float("inf")


def values(overflows: str, config: Config = CONFIG) -> list[float]:
    """The scale of each step and of the one after them; `x` is an overflow."""
    start = LossScale.begin(config)
    return [s.value for s in accumulate(overflows, lambda s, o: s.after(o == "x", config), initial=start)]


@pytest.mark.parametrize(
    ("overflows", "expected"),
    [
        ("xxx", [8, 8, 4, 2]),  # the first is tolerated
        ("......", [8, 8, 8, 16, 16, 16, 32]),  # every third good step doubles
        ("..x...", [8, 8, 8, 8, 8, 8, 16]),  # three in a row are needed
        ("x.x", [8, 8, 8, 4]),  # a good step in between forgives nothing
        ("xx...xx", [8, 8, 4, 4, 4, 8, 8, 4]),  # doubling does
        ("xxxxxxx", [8, 8, 4, 2, 1, 1, 1, 1]),  # not below the minimum
    ],
)
def test_by_hand(overflows: str, expected: list[float]) -> None:
    assert values(overflows) == expected


def test_without_hysteresis_the_first_one_halves() -> None:
    assert values("x.x", Config(initial=8, hysteresis=1)) == [8, 4, 4, 2]


def after(history: History, loss: float, norm: float, **spikes: object) -> Verdict:
    return judge(history, loss, norm, Spikes.parse({"window": 8, "warmup": 8, "nan": "skip", **spikes}), CONFIG)


def test_an_overflow_is_neither_a_spike_nor_a_nan() -> None:
    verdict = after(History(losses=(2.0, 2.1), norms=(1.0, 1.1)), 2.0, INF)
    assert verdict.overflow and not verdict.updates and verdict.finding is None and verdict.loss_scale == 8
    assert verdict.history == History((2.0, 2.1), (1.0, 1.1), scale=LossScale(8, 0, hysteresis=1, overflows=1))


def test_a_loss_that_is_no_number_is_no_overflow() -> None:
    """A smaller scale would not help: it comes from the forward pass."""
    verdict = after(History(), float("nan"), float("nan"))
    assert not verdict.overflow and verdict.finding is not None and verdict.action == "skip"
    assert verdict.history.scale == LossScale.begin(CONFIG)


def test_a_spike_that_is_left_out_keeps_the_scale() -> None:
    history = History((2.0, 2.1) * 4, (1.0, 1.1) * 4, scale=LossScale(4, good=2))
    verdict = after(history, 2.05, 1e9, spike="skip", grad_norm=10)
    assert verdict.finding is not None and not verdict.updates and verdict.history.scale == LossScale(4, good=2)
    assert after(history, 2.05, 1.05).history.scale == LossScale(8, good=0, hysteresis=2)


def test_overflows_in_a_row_with_the_smallest_scale_stop() -> None:
    verdict = after(History(scale=LossScale(1, overflows=9)), 2.0, INF)
    assert verdict.overflow and verdict.action == "stop" and str(verdict.finding) == "the gradient norm is inf"


@pytest.mark.parametrize(
    "scale",
    [
        LossScale(1),
        LossScale(1, good=1, overflows=9),
        LossScale(1, hysteresis=2, overflows=9),
        LossScale(2, overflows=9),
    ],
)
def test_other_overflows_do_not(scale: LossScale) -> None:
    """The first of the run, one by itself, one that is tolerated, one that a smaller scale may end."""
    assert after(History(scale=scale), 2.0, INF).finding is None


def test_history_keeps_the_scale_through_json() -> None:
    history = History(scale=LossScale(2.0**32, 5, 2, 7))
    assert History.from_plain(json.loads(json.dumps(history.plain()))) == history
    assert History.from_plain({"losses": [1.0]}).scale is None, "of a checkpoint from before fp16"
