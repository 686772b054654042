"""Pipelines replayed: small ones by hand."""

import pytest

from pretrain.planning.pipeline.idle import (
    Instruction,
    Slot,
    Work,
    one_forward_one_backward,
    replay,
)
from tests.planning.pipeline.forms import idle_share_1f1b, most_in_flight


@pytest.mark.parametrize(("pipe", "micro_batches"), [(2, 4), (4, 8), (4, 3), (8, 32)])
def test_1f1b_idles_as_the_paper_says(pipe: int, micro_batches: int) -> None:
    share = replay(one_forward_one_backward(pipe, micro_batches)).idle_share
    assert share == pytest.approx(idle_share_1f1b(pipe, micro_batches))


def test_two_ranks_two_micro_batches_by_hand() -> None:
    """Rank 1: F0 1-2, B0 2-4, F1 4-5, B1 5-7. Rank 0: F0, F1, then B0 4-6, B1 7-9. 6 of 18 idle."""
    timeline = replay(one_forward_one_backward(2, 2))
    assert [(slot.start, slot.end) for slot in timeline.ranks[0]] == [(0, 1), (1, 2), (4, 6), (7, 9)]
    assert [(slot.start, slot.end) for slot in timeline.ranks[1]] == [(1, 2), (2, 4), (4, 5), (5, 7)]
    assert timeline.length == 9 and timeline.idle_share == pytest.approx(6 / 18)


def test_two_stages_on_one_rank_cost_half() -> None:
    order = [Instruction(Work(kind, 0, stage)) for kind, stage in (("F", 0), ("F", 1), ("B", 1), ("B", 0))]
    assert replay([order]).ranks == [
        [
            Slot(0, 0.5, Work("F", 0, 0)),
            Slot(0.5, 1, Work("F", 0, 1)),
            Slot(1, 2, Work("B", 0, 1)),
            Slot(2, 3, Work("B", 0, 0)),
        ]
    ]


def test_ranks_that_wait_for_one_another() -> None:
    first, second = Work("F", 0, 0), Work("F", 0, 1)
    with pytest.raises(ValueError, match="wait for one another"):
        replay([[Instruction(first, (second,))], [Instruction(second, (first,))]])


def test_micro_batches_in_flight() -> None:
    """As many as there are ranks behind, and itself; no more than there are micro-batches."""
    assert [most_in_flight(order) for order in one_forward_one_backward(4, 8)] == [{0: 4}, {1: 3}, {2: 2}, {3: 1}]
    assert most_in_flight(one_forward_one_backward(4, 2)[0]) == {0: 2}
