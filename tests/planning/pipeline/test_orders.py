"""Orders of pipeline schedules against closed forms and DeepSpeed's own."""

import pytest

from pretrain.planning.pipeline.idle import (
    Costs,
    Work,
    one_forward_one_backward,
    replay,
)
from pretrain.planning.pipeline.orders import dualpipev, gpipe, interleaved
from tests.planning.pipeline.forms import idle_share_1f1b, most_in_flight


@pytest.mark.parametrize(("pipe", "micro_batches"), [(2, 4), (4, 4), (3, 7), (8, 32)])
def test_gpipe_idles_like_1f1b_and_keeps_all(pipe: int, micro_batches: int) -> None:
    """Huang et al. 2019, section 3: (p - 1) / (m + p - 1); activations of all m micro-batches."""
    orders = gpipe(pipe, micro_batches)
    assert replay(orders).idle_share == pytest.approx(idle_share_1f1b(pipe, micro_batches))
    assert most_in_flight(orders[0]) == {0: micro_batches}


@pytest.mark.parametrize(("pipe", "micro_batches", "virtual"), [(2, 4, 2), (4, 8, 3), (4, 4, 4), (8, 32, 2)])
def test_interleaved_fills_and_empties_v_times_faster(pipe: int, micro_batches: int, virtual: int) -> None:
    """Narayanan et al. 2021, section 2.2: (p - 1) (f + b) / v, with f + b = 3."""
    length = replay(interleaved(pipe, micro_batches, virtual)).length
    assert length == pytest.approx(3 * micro_batches + 3 * (pipe - 1) / virtual)


def test_interleaved_by_hand() -> None:
    """Two ranks, two parts: rank 0 holds stages 0 and 2, and is ahead by 2 (2 - 1) + 2 = 4 passes, which are all."""
    works = [one.work for one in interleaved(2, 2, 2)[0]]
    forward, backward = [("F", 0, 0), ("F", 1, 0), ("F", 0, 2), ("F", 1, 2)], [("B", 0, 2), ("B", 1, 2)]
    assert works == [Work(*work) for work in (*forward, *backward, ("B", 0, 0), ("B", 1, 0))]


@pytest.mark.parametrize(("pipe", "micro_batches"), [(2, 4), (4, 8), (4, 11), (3, 7)])
def test_dualpipev_is_deepspeeds(pipe: int, micro_batches: int) -> None:
    """The same passes in the same order, which wait as long for messages."""
    from pretrain.parallel.accounting.instructions import scheduled

    ours, theirs = dualpipev(pipe, micro_batches), scheduled("dualpipev", pipe, micro_batches)
    assert [[one.work for one in order] for order in ours] == [[one.work for one in order] for order in theirs]
    assert replay(ours).idle_share == pytest.approx(replay(theirs).idle_share)


def test_dualpipev_keeps_most_on_the_way_out() -> None:
    """2 p - r of stage r, and r + 1 of the stage on the way back."""
    assert [most_in_flight(order) for order in dualpipev(3, 7)] == [{0: 6, 5: 1}, {1: 5, 4: 2}, {2: 4, 3: 3}]


def test_too_few_micro_batches() -> None:
    with pytest.raises(ValueError, match="6 micro-batches are no multiple of 4"):
        interleaved(4, 6, 2)
    with pytest.raises(ValueError, match="at least 8 micro-batches, not 7"):
        dualpipev(4, 7)


def test_unequal_stages_and_messages_by_hand() -> None:
    """Stage 0: forward 1, backward 2; stage 1: 2 and 3; a message 0.5, in which its sender waits.

    Rank 0: F0 0-1, F1 1.5-2.5, then B0 of rank 1 (F0 1.5-3.5, B0 3.5-6.5) is there at 7: B0 7-9.
    Rank 1: F1 7-9, B1 9-12; rank 0: B1 12.5-14.5.
    """
    found = replay(one_forward_one_backward(2, 2), Costs((1, 2), (2, 3), 0.5))
    assert [slot[:2] for slot in found.ranks[0]] == [(0, 1), (1.5, 2.5), (7, 9), (12.5, 14.5)]
    assert [slot[:2] for slot in found.ranks[1]] == [(1.5, 3.5), (3.5, 6.5), (7, 9), (9, 12)]
