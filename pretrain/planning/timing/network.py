"""How long collectives take between GPUs of a node and between nodes.

A ring moves (n - 1) / n of a tensor for a reduce-scatter or an all-gather, twice that for an all-reduce, at the speed
of its slowest link; each of its steps has a latency. A group that has k ranks on each node uses k adapters of a node at
once, because the groups beside it use the others (NCCL's rings, Narayanan et al. 2021, section 3).
"""

from __future__ import annotations

from typing import NamedTuple

from pretrain.config.hardware import Hardware

BUCKET = 500e6
"""Bytes of a collective after which the next one starts, with its own latencies."""


class Group(NamedTuple):
    """Ranks that exchange."""

    ranks: int
    of_node: int
    """Of them on each node."""

    @property
    def nodes(self) -> float:
        """That it spans."""
        return self.ranks / self.of_node


def group_of(ranks: int, stride: int, node_size: int) -> Group:
    """`ranks` ranks, `stride` apart."""
    return Group(ranks, max(1, min(ranks, node_size // stride)))


def collective_seconds(hardware: Hardware, group: Group, size: float) -> float:
    """One reduce-scatter or all-gather of `size` bytes, as the whole tensor has; an all-reduce takes two."""
    if group.ranks == 1:
        return 0.0
    inside = _seconds(hardware.link_bandwidth * hardware.efficiency.links, hardware.link_latency, group.of_node, size)
    if group.nodes <= 1:
        return inside
    wide = hardware.network_bandwidth * hardware.efficiency.network * group.of_node
    steps = (group.nodes - 1) * hardware.network_latency + (group.ranks - group.nodes) * hardware.link_latency
    between = size * (group.ranks - 1) / group.ranks / (wide * 1e9) + steps * max(1.0, size / BUCKET)
    return max(inside, between)


def _seconds(bandwidth: float, latency: float, ranks: float, size: float) -> float:
    return size * (ranks - 1) / ranks / (bandwidth * 1e9) + latency * (ranks - 1)


def send_seconds(hardware: Hardware, size: float, inside: bool) -> float:
    """One message of `size` bytes to one rank, of the same node or another."""
    if inside:
        return size / (hardware.link_bandwidth * hardware.efficiency.links * 1e9) + hardware.link_latency
    return size / (hardware.network_bandwidth * hardware.efficiency.network * 1e9) + hardware.network_latency
