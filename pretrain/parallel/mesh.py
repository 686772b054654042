"""The processes of a run on their grid, and the groups in which they exchange. Passed along, never global."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.distributed as dist

from pretrain.config.errors import ConfigError
from pretrain.config.layout import Coordinate, Layout, layout_of
from pretrain.config.parallel import Parallel
from pretrain.parallel.process import TIMEOUT, World


@dataclass(frozen=True)
class Axis:
    """One line of ranks through the grid, seen from one of them."""

    rank: int = 0
    """Place on the line."""
    size: int = 1
    """Ranks on it."""
    group: dist.ProcessGroup | None = None
    """Its process group; None where the rank is alone."""


@dataclass(frozen=True)
class Mesh:
    """The grid pipe x data x tensor, seen from one rank."""

    world: World
    layout: Layout
    at: Coordinate
    """Where this rank stands."""
    tensor: Axis
    """The ranks that share this one's layers."""
    ends: Axis
    """The first and last pipeline stage, which hold a tied embedding each; this rank alone if it is neither."""

    @property
    def is_first_of_tensor(self) -> bool:
        """Whether this rank speaks for its tensor group, all of which computed the same loss."""
        return self.at.tensor == 0


def make_mesh(world: World, parallel: Parallel) -> Mesh:
    """The grid of all processes. All ranks call it together; groups are made in the same order everywhere.

    Raises ConfigError when the processes do not fill the grid.
    """
    layout = layout_of(parallel, world.size)
    if layout.processes != world.size:
        rule = f"must be a multiple of tensor x pipe ({parallel.tensor} x {parallel.pipe})"
        near = max(1, world.size // (parallel.tensor * parallel.pipe)) * parallel.tensor * parallel.pipe
        raise ConfigError.of("processes", world.size, rule, f"start {near} processes")
    at = layout.coordinate(world.rank)
    return Mesh(
        world,
        layout,
        at,
        tensor=make_axis(layout.lines("tensor"), world.rank),
        ends=make_axis([[line[0], line[-1]] for line in layout.lines("pipe")], world.rank),
    )


def make_axis(lines: Sequence[Sequence[int]], rank: int) -> Axis:
    """The line that `rank` is on; every rank makes the groups of all lines, as torch.distributed wants it."""
    mine = Axis()
    for line in lines:
        if len(set(line)) < 2:
            continue
        group = dist.new_group(list(line), timeout=TIMEOUT)
        if rank in line:
            mine = Axis(line.index(rank), len(line), group)
    return mine


def split_axis(layout: Layout, rank: int, width: int) -> Axis:
    """The part of `width` neighbours of this rank's tensor line. All ranks call it together."""
    lines = layout.lines("tensor")
    return make_axis([line[i : i + width] for line in lines for i in range(0, len(line), width)], rank)
