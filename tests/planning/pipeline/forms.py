"""Closed forms and counts that orders of a pipeline are held to."""

from collections.abc import Sequence

from pretrain.planning.pipeline.idle import Instruction


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
