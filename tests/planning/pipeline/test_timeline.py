"""A job's pipeline replayed with the seconds of its own stages."""

from typing import Any

import pytest

from pretrain.planning.pipeline.timeline import orders, recompute_shares, stage_costs, timeline
from pretrain.planning.timing.step import stage_passes, step_time, tied_seconds
from tests.planning.jobs import job


@pytest.mark.parametrize(
    ("name", "gpus", "changes", "within"),
    [
        ("gpt3-13b", 256, {"tensor": 2, "pipe": 8}, 0.01),
        ("gpt3-13b", 64, {"pipe": 32}, 0.03),  # the last stage takes 1.6 times the mean
        ("gpt3-13b", 256, {"pipe": 4, "recompute": "full"}, 0.01),
        ("gpt3-1.3b", 64, {"pipe": 4}, 0.02),
        ("gpt3-13b", 256, {"tensor": 2, "pipe": 8, "virtual": 2}, 0.02),
        ("gpt3-13b", 256, {"tensor": 2, "pipe": 4, "schedule": "dualpipev"}, 0.04),
    ],
)
def test_the_closed_form_of_a_step_agrees(name: str, gpus: int, changes: dict[str, Any], within: float) -> None:
    """step_time: every micro-batch through the slowest stage, and once through the others. Neither the exchange after
    the passes nor the update is drawn."""
    found = job(name, gpus, **changes)
    closed = step_time(found)
    after = closed.data + closed.optimizer + tied_seconds(found)
    assert timeline(found).length == pytest.approx(closed.total - after, rel=within)


def test_stages_of_a_rank_share_its_seconds() -> None:
    found = job("gpt3-13b", 256, pipe=4, schedule="dualpipev")
    costs, passes = stage_costs(found), stage_passes(found, 1)
    assert len(costs.forward) == 8
    assert costs.forward[1] + costs.forward[6] == pytest.approx(passes.forward.total)
    assert costs.backward[1] + costs.backward[6] == pytest.approx(passes.backward.total)


def test_without_a_pipeline_nobody_waits() -> None:
    found = job("gpt3-1.3b", 64, tensor=4, pipe=1)
    assert timeline(found).idle_share == pytest.approx(0) and stage_costs(found).message == 0


def test_orders_of_few_micro_batches_are_whole() -> None:
    """Interleaved ones come in groups of the pipe's size, DualPipeV needs twice that."""
    assert len(orders(job("gpt3-13b", 256, pipe=4, virtual=2), 6)[0]) == 2 * 2 * 8
    assert len(orders(job("gpt3-13b", 256, pipe=4, schedule="dualpipev"), 3)[0]) == 2 * 2 * 8
    assert len(orders(job("gpt3-13b", 256, pipe=4), 3)[0]) == 2 * 3


def test_how_much_of_a_backward_pass_is_done_again() -> None:
    """A block's forward pass without its last product, beside a backward pass of about two."""
    assert recompute_shares(job("gpt3-13b", 256, pipe=4)) == [0, 0, 0, 0]
    assert all(0.2 < share < 0.35 for share in recompute_shares(job("gpt3-13b", 256, pipe=4, recompute="full")))
