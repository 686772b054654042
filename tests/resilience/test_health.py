"""Which machines are not fit to train, from readings of eight ranks on four machines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pretrain.config.resilience import Health
from pretrain.resilience.health import Finding, Reading, judge, summary

WELL = [
    Reading(
        rank, f"node{rank // 2}", devices=2, device="A100", memory_free=0.99, tflops=250.0, peak_tflops=312.0,
        disk_free=10**12, clock=0.01, sees_directory=True, inside=200.0, between=(20.0, 21.0) if rank % 2 == 0 else (),
    )
    for rank in range(8)
]  # fmt: skip


def with_rank(rank: int, **changed: object) -> list[Reading]:
    return [replace(reading, **changed) if reading.rank == rank else reading for reading in WELL]  # type: ignore[arg-type]


def test_all_is_well() -> None:
    assert judge(WELL, Health()) == []
    assert summary(WELL) == (
        "health: 4 machines, matmul 250 to 250 TFLOP/s, all-reduce inside 200 to 200 GB/s, between 20 to 21 GB/s"
    )


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"devices": 1}, "sees 1 GPUs, others 2"),
        ({"memory_free": 0.5}, "only 50% of its GPU's memory is free: another process holds it"),
        ({"tflops": 140.0}, "its matmul runs at 0.56 of the others' 250 TFLOP/s"),
        ({"disk_free": 10_000_000}, "has 0.01 GB free for temporary files"),
        ({"sees_directory": False}, "does not see the run directory of rank 0: it must be shared"),
        ({"inside": 50.0}, "all-reduce inside the machine at 50 GB/s, others 200"),
        ({"between": (5.0, 4.0)}, "exchanges with both neighbours at 5 GB/s, others 20"),
    ],
)
def test_a_bad_machine_is_named(changed: dict[str, object], what: str) -> None:
    assert judge(with_rank(4, **changed), Health()) == [Finding("node2", f"rank 4 on node2: {what}")]


def test_a_slow_link_is_not_the_fault_of_both_ends() -> None:
    assert judge(with_rank(4, between=(5.0, 20.0)), Health()) == []


def test_a_whole_cluster_below_the_table() -> None:
    slow = [replace(reading, tflops=100.0) for reading in WELL]
    assert judge(slow, Health())[0].what == "rank 0 on node0: its matmul reaches 100 of the 312 TFLOP/s of a A100"


def test_a_clock_that_is_off_is_told_and_forgiven() -> None:
    assert judge(with_rank(2, clock=-75.0), Health()) == [
        Finding("node1", "rank 2 on node1: its clock is off by -75 s", bad=False)
    ]
