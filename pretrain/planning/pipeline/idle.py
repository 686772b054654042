"""How much of a pipeline's time its ranks wait: their instructions replayed with set costs, never with a clock.

Unless costs are given, a forward pass of a rank's layers costs 1, a backward pass 2, and messages nothing. A rank
executes in its own order; forward of a stage needs forward of the stage before, backward needs backward of the stage
after. What is left over is the schedule's own: (p - 1) / (m + p - 1) for 1F1B (Narayanan et al. 2021, section 2.2, as a
share of the whole time). Other orders: orders.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
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


class Costs(NamedTuple):
    """Of each stage, for one micro-batch."""

    forward: tuple[float, ...]
    backward: tuple[float, ...]
    message: float = 0.0
    """Of a result that goes to another rank. Its sender waits, as in DeepSpeed and Megatron-LM."""

    def of(self, work: Work) -> float:
        """Of a pass."""
        return (self.forward if work.kind == "F" else self.backward)[work.stage]


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


def replay(orders: Sequence[Sequence[Instruction]], costs: Costs | None = None) -> Timeline:
    """The timeline of each rank's instructions. Raises ValueError when they wait for one another for ever."""
    costs = costs or _equal(orders)
    home = {instruction.work: rank for rank, order in enumerate(orders) for instruction in order}
    sent = {
        needed for rank, order in enumerate(orders) for _, after in order for needed in after if home[needed] != rank
    }
    done: dict[Work, float] = {}
    ranks: list[list[Slot]] = [[] for _ in orders]
    while any(len(slots) < len(order) for slots, order in zip(ranks, orders, strict=True)):
        moved = [_advance(slots, order, done, costs, sent) for slots, order in zip(ranks, orders, strict=True)]
        if not any(moved):
            stuck = [order[len(slots)] for slots, order in zip(ranks, orders, strict=True) if len(slots) < len(order)]
            raise ValueError(f"these wait for one another: {stuck}")
    return Timeline(ranks)


def _equal(orders: Sequence[Sequence[Instruction]]) -> Costs:
    """COST of all the layers of a rank, shared out evenly over its stages."""
    stages = len({instruction.work.stage for order in orders for instruction in order})
    forward, backward = ((COST[kind] * len(orders) / stages,) * stages for kind in "FB")
    return Costs(forward, backward)


def _advance(
    slots: list[Slot], order: Sequence[Instruction], done: dict[Work, float], costs: Costs, sent: set[Work]
) -> bool:
    """Do whatever this rank can do now; whether that was anything. `done`: when a result is where it is needed."""
    before = len(slots)
    for work, after in islice(order, before, None):
        if any(needed not in done for needed in after):
            break
        free = done[slots[-1].work] if slots else 0.0
        start = max([free, *(done[needed] for needed in after)])
        end = start + costs.of(work)
        done[work] = end + (costs.message if work in sent else 0.0)
        slots.append(Slot(start, end, work))
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
            order.append(with_needs(Work(kind, number[kind], rank), pipe))
            number[kind] += 1
        orders.append(order)
    return orders


def with_needs(work: Work, stages: int) -> Instruction:
    """Forward passes come from the stage before, gradients from the stage after."""
    neighbour = work.stage + (-1 if work.kind == "F" else 1)
    return Instruction(work, (work._replace(stage=neighbour),) if 0 <= neighbour < stages else ())
