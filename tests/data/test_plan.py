"""The data plan: pure functions of the step."""

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np

from pretrain.data.plan import DataPlan, Phase, Stage, Window, differences, make_plan
from tests.config.example import make_run

SOURCES = ("web", "wiki")
DEFAULT = {"web": Decimal("0.75"), "wiki": Decimal("0.25")}


def plan_of(**changes: Any) -> DataPlan:
    return make_plan(make_run(**changes), SOURCES, DEFAULT)


def test_constant_batch() -> None:
    plan = plan_of()
    assert plan.phases == (Phase(0, 0, 32),)
    assert plan.stages == (Stage(0, (3, 1)),)
    assert plan.batch(0) == (0, 32)
    assert plan.batch(7) == (224, 32)
    assert plan.tokens_before(7) == 224 * 128


def test_ramp_by_hand() -> None:
    """8, 16, 24 samples of 128 tokens, each over a third of 12,288 tokens = 32 samples; then 32."""
    plan = plan_of(batch={"ramp": {"start": 8, "tokens": 12_288}})
    assert plan.phases == (Phase(0, 0, 8), Phase(4, 32, 16), Phase(6, 64, 24), Phase(8, 112, 32))
    served = [plan.batch(step) for step in range(10)]
    assert served == [(0, 8), (8, 8), (16, 8), (24, 8), (32, 16), (48, 16), (64, 24), (88, 24), (112, 32), (144, 32)]
    for (first, size), (following, _) in pairwise(served):
        assert first + size == following


def test_gpt3s_ramp() -> None:
    """32k tokens (16 samples of 2,048) to 3.2M (1,536) over 4B tokens, in steps of 16 samples: 95 ramp sizes."""
    model = {"layers": 1, "d_model": 8, "heads": 1, "context": 2048}
    batch = {"global_batch_size": 1536, "micro_batch_size": 1, "ramp": {"start": 16, "tokens": "4B"}}
    plan = plan_of(model=model, batch=batch, train={"tokens": "300B"})
    assert len(plan.phases) == 96
    assert plan.phases[1].batch_size == 32
    full = plan.phases[-1]
    assert full.batch_size == 1536
    assert abs(full.first_sample * 2048 - 4e9) < 95 * 1536 * 2048


def test_steps_ends_with_the_first_step_that_reaches_the_tokens() -> None:
    plan = plan_of(batch={"ramp": {"start": 8, "tokens": 12_288}})
    for tokens in (1, 128, 1024, 1025, 4096, 14_336, 14_337, 1_000_000):
        steps = plan.steps(tokens)
        assert plan.tokens_before(steps) >= tokens > plan.tokens_before(steps - 1)


def test_weight_stages_and_skips() -> None:
    plan = plan_of(
        data={
            "mixture": {"wiki": 1},
            "stages": [{"from_tokens": 1280, "mixture": {"web": "0.5", "wiki": "0.5"}}],
            "skip": [{"first_sample": 20, "samples": 5}, {"first_sample": 3, "samples": 2}],
        }
    )
    assert plan.stages == (Stage(0, (0, 1)), Stage(10, (1, 1)))
    assert plan.skipped == (Window(3, 2), Window(20, 5))
    index = plan.order_index(np.arange(22)).tolist()
    assert index == [0, 1, 2, *range(5, 20), *range(25, 29)]


def test_from_the_order_back_to_the_step() -> None:
    """The inverse of order_index and batch, over a ramp with skipped windows."""
    plan = DataPlan(
        1,
        8,
        ("a",),
        (Phase(0, 0, 2), Phase(3, 6, 4), Phase(5, 14, 8)),
        (Stage(0, (1,)),),
        (Window(0, 2), Window(5, 3), Window(9, 1)),
    )
    served = np.arange(40)
    index = plan.order_index(served)
    assert [plan.served_before(one) for one in index.tolist()] == served.tolist()
    assert [one for one in range(12) if plan.served_before(one) is None] == [0, 1, 5, 6, 7, 9]
    for step in range(8):
        first, size = plan.batch(step)
        assert {plan.step_of(one) for one in range(first, first + size)} == {step}


def test_plans_may_differ_in_what_was_not_served_yet() -> None:
    plan = plan_of()
    later = plan_of(
        data={
            "skip": [{"first_sample": 320, "samples": 8}],
            "stages": [{"from_tokens": 320 * 128, "mixture": {"wiki": 1}}],
        }
    )
    assert later.until(10) == plan.until(10)  # ten steps of 32 samples
    assert later.until(11) != plan.until(11)
    assert plan_of(train={"seed": 5}).until(0) != plan.until(0)
    assert DataPlan.from_plain(json.loads(json.dumps(later.plain()))) == later


def test_what_differs_is_said_by_the_fields_of_a_run() -> None:
    plan = plan_of()
    assert list(differences(plan, plan)) == []
    for changes, words in (
        ({"train": {"seed": 5}}, "train.seed: 1234 and 5"),
        ({"batch": {"global_batch_size": 64}}, "batch: 32 samples from step 1 and 64 samples from step 1"),
        ({"data": {"mixture": {"wiki": 1}}}, "data.mixture: web 3, wiki 1 from sample 0 and wiki 1 from sample 0"),
        (
            {"data": {"stages": [{"from_tokens": 12_800, "mixture": {"wiki": 1}}]}},
            "data.mixture: nothing more and wiki 1 from sample 100",
        ),
        ({"data": {"skip": [{"first_sample": 4, "samples": 8}]}}, "data.skip: nothing more and 8 samples from 4"),
    ):
        assert list(differences(plan, plan_of(**changes))) == [words]


def test_fingerprint_changes_with_anything_that_changes_a_batch() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"train": {"seed": 5}},
        {"batch": {"global_batch_size": 64}},
        {"batch": {"ramp": {"start": 8, "tokens": "10k"}}},
        {"data": {"mixture": {"web": 1}}},
        {"data": {"sequence_length": 64}},
        {"data": {"skip": [{"first_sample": 1, "samples": 1}]}},
    ]
    assert len({plan_of(**change).fingerprint() for change in changes}) == len(changes)
    assert plan_of(batch={"micro_batch_size": 8}).fingerprint() == plan_of().fingerprint()
    assert plan_of(data={"mixture": {"web": 3, "wiki": 1}}).fingerprint() == plan_of().fingerprint()


def test_windows_that_overlap_become_one() -> None:
    plan = plan_of(data={"skip": [{"first_sample": 20, "samples": 5}]})
    assert plan.without([Window(40, 2), Window(22, 10), Window(60, 1)]).skipped == (
        Window(20, 12),
        Window(40, 2),
        Window(60, 1),
    )
    assert plan.without([Window(10, 30)]).skipped == (Window(10, 30),)
    assert plan.without([Window(25, 5)]).skipped == (Window(20, 5), Window(25, 5)), "side by side is not overlapping"
    assert plan.without([]) == plan


def test_the_window_of_steps_holds_what_is_left_out_inside() -> None:
    plan = plan_of(data={"skip": [{"first_sample": 40, "samples": 8}]})  # batches of 32
    assert plan.window(range(0, 1)) == Window(0, 32)
    assert plan.window(range(1, 2)) == Window(32, 40)
    assert plan.window(range(2, 4)) == Window(72, 64)
    assert plan.without([plan.window(range(1, 3))]).skipped == (Window(32, 72),)
