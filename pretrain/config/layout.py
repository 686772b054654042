"""The grid of processes: pipe x data x tensor, tensor innermost. Pure arithmetic, without torch.

Neighbours on the tensor axis exchange most and have consecutive ranks, so a launcher that fills node after node puts
them on one node's fast links; the pipe axis exchanges least and is outermost.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pretrain.config.parallel import Parallel
from pretrain.config.run import Run


class Coordinate(NamedTuple):
    """Where a rank stands on each axis."""

    pipe: int
    data: int
    tensor: int


class Layout(NamedTuple):
    """Processes on each axis."""

    pipe: int
    data: int
    tensor: int

    @property
    def processes(self) -> int:
        """All processes."""
        return self.pipe * self.data * self.tensor

    def coordinate(self, rank: int) -> Coordinate:
        """Where `rank` stands."""
        rest, tensor = divmod(rank, self.tensor)
        pipe, data = divmod(rest, self.data)
        return Coordinate(pipe, data, tensor)

    def rank(self, pipe: int, data: int, tensor: int) -> int:
        """The rank at a coordinate."""
        return (pipe * self.data + data) * self.tensor + tensor

    def lines(self, axis: Literal["pipe", "data", "tensor"]) -> list[list[int]]:
        """All lines of ranks along an axis: ranks that differ in their place on it alone."""
        along = range(getattr(self, axis))
        starts = [rank for rank in range(self.processes) if getattr(self.coordinate(rank), axis) == 0]
        return [[self.rank(*self.coordinate(start)._replace(**{axis: place})) for place in along] for start in starts]

    def rank_map(self) -> list[str]:
        """The grid as text: a row for each pipe rank, its data ranks side by side, tensor ranks as `0-3`."""
        rows = []
        for pipe in range(self.pipe):
            first = [self.rank(pipe, data, 0) for data in range(self.data)]
            shown = [str(rank) if self.tensor == 1 else f"{rank}-{rank + self.tensor - 1}" for rank in first]
            rows.append(f"pipe {pipe}: ranks {', '.join(shown[:16])}{', ...' if len(shown) > 16 else ''}")
        return rows

    def __str__(self) -> str:
        return f"pipe {self.pipe} x data {self.data} x tensor {self.tensor}"


def layout_of(parallel: Parallel, processes: int) -> Layout:
    """The grid of `processes`; the data axis takes what tensor and pipe leave. Assumes that they divide it."""
    return Layout(parallel.pipe, max(1, processes // (parallel.pipe * parallel.tensor)), parallel.tensor)


def data_processes(run: Run, processes: int) -> int:
    """Size of the data axis."""
    return layout_of(run.parallel, processes).data
