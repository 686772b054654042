"""What is told when ranks end, fall silent or hang."""

from __future__ import annotations

import pytest

from pretrain.config.resilience import Stall
from pretrain.parallel.verdict import CUT, DONE, Seen, ended, hanging, silent, stalled

LIMITS = Stall(data=10, step=60, silence=30)


def seen(rank: int, words: str | None = None, **known: object) -> Seen:
    usual = {"heard": 100.0, "phase": "step", "step": 7, "since": 90.0}
    return Seen(rank, f"node{rank // 2}", words=words, **(usual | known))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([(2, "OSError: disk"), (0, "Error: peer")],
         "rank 2 of 4 on node1 failed first, in step at step 7: OSError: disk"),
        ([(0, "Error: peer"), (3, CUT)],
         "rank 3 of 4 on node1 ended without a word in step at step 7 (killed, or out of memory)"),
        ([(3, CUT), (2, CUT), (1, "Error: peer")],
         "ranks 2, 3 of 4 on node1 ended without a word in step at step 7 (killed, or out of memory)"),
        ([(0, DONE), (1, "ValueError: x")], "rank 1 of 4 on node0 failed first, in step at step 7: ValueError: x"),
        ([(0, DONE)], None),
        ([], None),
    ],
)  # fmt: skip
def test_who_ended(words: list[tuple[int, str]], told: str | None) -> None:
    assert ended([seen(rank, said) for rank, said in words], 4) == told


def test_who_fell_silent() -> None:
    ranks = [seen(0, heard=99.0), seen(1, heard=69.9), seen(2, heard=70.1), seen(3, heard=0.0, words=DONE)]
    assert silent(ranks, 4, 100.0, LIMITS) == (
        "rank 1 of 4 on node0 said nothing for 30 s, last in step at step 7 (frozen, or the machine is gone)"
    )
    assert silent(ranks, 4, 99.0, LIMITS) is None


def test_each_phase_has_its_limit() -> None:
    assert not stalled([seen(0, phase="data", since=90.0), seen(1, since=40.0)], 100.0, LIMITS)
    assert stalled([seen(0, phase="data", since=89.9)], 100.0, LIMITS)
    assert stalled([seen(0, phase="step", since=39.9)], 100.0, LIMITS)
    assert not stalled([seen(0, phase="data", since=0.0, words=DONE)], 100.0, LIMITS)


def test_the_one_that_does_not_wait_hangs() -> None:
    ranks = [seen(rank, waits=rank != 2, where=f"file.py:{rank} in f") for rank in range(4)]
    assert hanging(ranks, 4, 160.0, LIMITS) == (
        "rank 2 of 4 on node1 hangs in step at step 7 for 70 s and stands at file.py:2 in f; "
        "resilience.stall.step is 60 s"
    )


def test_nobody_hangs_who_went_on_before_he_was_asked() -> None:
    assert hanging([seen(0, waits=True), seen(1, since=99.0)], 2, 100.0, LIMITS) is None
    assert hanging([seen(0, words=DONE, since=0.0)], 1, 100.0, LIMITS) is None


def test_who_does_not_answer_hangs() -> None:
    ranks = [seen(0, waits=True, where="x"), seen(1)]
    told = str(hanging(ranks, 2, 160.0, LIMITS))
    assert "rank 1 of 2 on node0 hangs in step at step 7 for 70 s and does not answer;" in told


def test_where_all_wait_the_last_one_hangs() -> None:
    """As on GPUs, where every rank waits for its device."""
    ranks = [seen(0, waits=True), seen(1, waits=True, phase="data"), seen(2, waits=True), seen(3, waits=True, step=8)]
    told = str(hanging(ranks, 4, 101.0, LIMITS))
    assert told.startswith("rank 1 of 4 on node0 hangs in data at step 7 for 11 s")
