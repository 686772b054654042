"""In which order the ranks of a pipeline compute, by schedule. 1F1B: idle.py."""

from __future__ import annotations

from pretrain.planning.pipeline.idle import Instruction, Work, with_needs

Orders = list[list[Instruction]]
"""Of each rank."""


def gpipe(pipe: int, micro_batches: int) -> Orders:
    """All forward passes, then all backward passes, the last micro-batch first (Huang et al. 2019, figure 2)."""
    kinds = [("F", number) for number in range(micro_batches)]
    kinds += [("B", number) for number in reversed(range(micro_batches))]
    return [[with_needs(Work(kind, number, rank), pipe) for kind, number in kinds] for rank in range(pipe)]


def interleaved(pipe: int, micro_batches: int, virtual: int) -> Orders:
    """Interleaved 1F1B (Narayanan et al. 2021, section 2.2): a rank holds `virtual` stages, `pipe` apart.

    Groups of `pipe` micro-batches go through one stage of the rank after the other; forward passes are ahead of
    backward passes by 2 (pipe - 1 - rank) + (virtual - 1) pipe, as in Megatron-LM. Raises ValueError for parts of a
    group.
    """
    if micro_batches % pipe:
        raise ValueError(f"{micro_batches} micro-batches are no multiple of {pipe} ranks")
    groups = [range(first, first + pipe) for first in range(0, micro_batches, pipe)]
    forward = [(number, part) for group in groups for part in range(virtual) for number in group]
    backward = [(number, part) for group in groups for part in reversed(range(virtual)) for number in group]
    orders = []
    for rank in range(pipe):
        ahead = min(2 * (pipe - 1 - rank) + (virtual - 1) * pipe, len(forward))
        kinds = "F" * ahead + "FB" * (len(forward) - ahead) + "B" * ahead
        passes = {"F": iter(forward), "B": iter(backward)}
        taken = ((kind, *next(passes[kind])) for kind in kinds)
        orders.append(
            [with_needs(Work(kind, number, part * pipe + rank), pipe * virtual) for kind, number, part in taken]
        )
    return orders


def dualpipev(pipe: int, micro_batches: int) -> Orders:
    """DualPipeV as DeepSpeed has it: rank r holds stage r on the way out (0) and 2 pipe - 1 - r on the way back (1).

    Backward passes are whole. Raises ValueError for fewer than 2 x pipe micro-batches.
    """
    if micro_batches < 2 * pipe:
        raise ValueError(f"DualPipeV needs at least {2 * pipe} micro-batches, not {micro_batches}")
    return [_dualpipev(pipe, rank, micro_batches) for rank in range(pipe)]


def _dualpipev(pipe: int, rank: int, micro_batches: int) -> list[Instruction]:
    """The steps of `DualPipeVSchedule` in deepspeed/runtime/pipe/schedule.py: kind and way of each pass.

    `F0+B1` waits for the message that the next B1 needs, too: the engine asks for both together.
    """
    after, whole = pipe - 1 - rank, micro_batches - 2 * pipe + rank + 1
    steps = ["F0"] * (2 * after)
    steps += ["F0", "F1+F0"] * (rank + 1)
    steps += ["B1", "F1"] * after
    steps += ["F0+B1" if after else "F0", "B1", "F1+B0", "B0"]
    steps += ["F0+B1", "B1", "F1+B0", "B0"] * (whole - 1)
    steps += ["B1", "F1+B0", "B0"] * after
    steps += ["B1", "B0"] * (rank + 1)
    steps += ["B0"] * after
    number = dict.fromkeys(("F0", "F1", "B0", "B1"), 0)
    order = []
    for step in steps:
        asked = [_next(pipe, rank, name, number[name]) for name in step.split("+")]
        order.append(Instruction(asked[0].work, tuple(needed for one in asked for needed in one.after)))
        number[step[:2]] += 1
    return order


def _next(pipe: int, rank: int, name: str, micro_batch: int) -> Instruction:
    stage = rank if name[1] == "0" else 2 * pipe - 1 - rank
    return with_needs(Work(name[0], micro_batch, stage), 2 * pipe)
