"""Collectives by hand: rings inside a node, between nodes, and the adapters that a group has."""

import pytest

from pretrain.config.hardware import Efficiency, Hardware
from pretrain.planning.timing.network import Group, collective_seconds, group_of, send_seconds

NODES = Hardware(
    gpu="eight", tflops=1, fp32_tflops=1, memory=2**30, memory_bandwidth=1, multiprocessors=1,
    link_bandwidth=300, link_latency=1e-6, network_bandwidth=25, network_latency=1e-5, watts=1, dollars_per_hour=1,
    efficiency=Efficiency(links=0.5, network=0.8),
)  # fmt: skip


def test_placement() -> None:
    """Eight in a node: a tensor group of 8 is inside; 16 data ranks beside a tensor axis of 4 are 2 on each node."""
    assert group_of(8, 1, 8) == Group(8, 8)
    assert group_of(16, 4, 8) == Group(16, 2)
    assert group_of(4, 8, 8) == Group(4, 1)
    assert group_of(2, 1, 8) == Group(2, 2)


def test_inside_a_node() -> None:
    """7/8 of 1.2 GB at 150 GB/s, 7 steps of 1 microsecond."""
    assert collective_seconds(NODES, Group(8, 8), 1.2e9) == pytest.approx(0.007 + 7e-6)


def test_between_nodes() -> None:
    """4 nodes, 2 ranks on each: 7/8 of 400 MB over 2 adapters at 20 GB/s, 3 steps between nodes and 4 inside."""
    assert collective_seconds(NODES, Group(8, 2), 4e8) == pytest.approx(0.00875 + 3.4e-5)


def test_more_adapters_are_faster() -> None:
    assert collective_seconds(NODES, Group(16, 8), 1e10) < collective_seconds(NODES, Group(16, 1), 1e10)


def test_alone() -> None:
    assert collective_seconds(NODES, Group(1, 1), 1e9) == 0


def test_a_message() -> None:
    assert send_seconds(NODES, 2e9, inside=False) == pytest.approx(0.1 + 1e-5)
    assert send_seconds(NODES, 1.5e9, inside=True) == pytest.approx(0.01 + 1e-6)
