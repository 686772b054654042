"""How much of a pipeline's time its ranks wait: their instructions replayed with set costs, never with a clock.

A forward pass of a rank's layers costs 1, a backward pass 2; messages cost nothing and a sender does not wait. A rank
executes in its own order; forward of a stage needs forward of the stage before, backward needs backward of the stage
after. What is left over is the schedule's own: (p - 1) / (m + p - 1) for 1F1B (Narayanan et al. 2021, section 2.2, as a
share of the whole time).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

COST = {"F": 1.0, "B": 2.0}
"""Of all the layers of a rank, for one micro-batch."""


class Work(NamedTuple):
    """One pass of one micro-batch through one stage."""

    kind: str
    """F or B."""
    micro_batch: int
    stage: int


class Instruction(NamedTuple):
    """Work in the order of a rank, and what other ranks must have done before."""

    work: Work
    after: tuple[Work, ...] = ()


class Slot(NamedTuple):
    """When a rank did it."""

    start: float
    end: float
    work: Work


class Timeline(NamedTuple):
    """A replayed step."""

    ranks: list[list[Slot]]
    """Of each rank, in its order."""

    @property
    def length(self) -> float:
        """From the first start to the last end."""
        return max(slots[-1].end for slots in self.ranks)

    @property
    def idle_share(self) -> float:
        """Of the time of all ranks together, the share in which one computes nothing."""
        busy = sum(slot.end - slot.start for slots in self.ranks for slot in slots)
        return 1 - busy / (self.length * len(self.ranks))


def replay(orders: Sequence[Sequence[Instruction]]) -> Timeline:
    """The timeline of each rank's instructions. Raises ValueError when they wait for one another for ever."""
    stages = len({instruction.work.stage for order in orders for instruction in order})
    part = len(orders) / stages  # of a rank's layers in one of its stages
    done: dict[Work, float] = {}
    ranks: list[list[Slot]] = [[] for _ in orders]
    while any(len(slots) < len(order) for slots, order in zip(ranks, orders, strict=True)):
        moved = [_advance(slots, order, done, part) for slots, order in zip(ranks, orders, strict=True)]
        if not any(moved):
            stuck = [order[len(slots)] for slots, order in zip(ranks, orders, strict=True) if len(slots) < len(order)]
            raise ValueError(f"these wait for one another: {stuck}")
    return Timeline(ranks)


def _advance(slots: list[Slot], order: Sequence[Instruction], done: dict[Work, float], part: float) -> bool:
    """Do whatever this rank can do now; whether that was anything."""
    before = len(slots)
    for work, after in order[before:]:
        if any(needed not in done for needed in after):
            break
        start = max([slots[-1].end if slots else 0.0, *(done[needed] for needed in after)])
        done[work] = start + COST[work.kind] * part
        slots.append(Slot(start, done[work], work))
    return len(slots) > before


def one_forward_one_backward(pipe: int, micro_batches: int) -> list[list[Instruction]]:
    """The order of 1F1B: rank r does pipe - 1 - r forward passes, then one of each in turn."""
    orders = []
    for rank in range(pipe):
        ahead = min(pipe - 1 - rank, micro_batches)
        kinds = "F" * ahead + "FB" * (micro_batches - ahead) + "B" * ahead
        number = {"F": 0, "B": 0}
        order = []
        for kind in kinds:
            order.append(_with_needs(Work(kind, number[kind], rank), pipe))
            number[kind] += 1
        orders.append(order)
    return orders


def _with_needs(work: Work, stages: int) -> Instruction:
    neighbour = work.stage + (-1 if work.kind == "F" else 1)
    return Instruction(work, (work._replace(stage=neighbour),) if 0 <= neighbour < stages else ())


def idle_share_1f1b(pipe: int, micro_batches: int) -> float:
    """(p - 1) / (m + p - 1)."""
    return (pipe - 1) / (micro_batches + pipe - 1)


def most_in_flight(order: Sequence[Instruction]) -> dict[int, int]:
    """By stage of a rank: the most micro-batches whose activations it keeps at once."""
    now: dict[int, int] = {}
    most: dict[int, int] = {}
    for (kind, _, stage), _ in order:
        now[stage] = now.get(stage, 0) + (1 if kind == "F" else -1)
        most[stage] = max(most.get(stage, 0), now[stage])
    return most
