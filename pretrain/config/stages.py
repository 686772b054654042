"""Which layers each pipeline stage holds: consecutive ones, so that the slowest stage is as fast as it can be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from pretrain.config.counts import block_matrices
from pretrain.config.model import Model
from pretrain.config.parallel import Parallel

Cuts = dict[int, tuple[int, tuple[int, ...]]]
"""By first layer: (sum of squared costs, where each part ends) of the layers from there on."""


def stage_count(parallel: Parallel) -> int:
    """Stages of the pipeline: DualPipeV puts two on each process."""
    return parallel.pipe * (2 if parallel.schedule == "dualpipev" and parallel.pipe > 1 else 1)


def layer_costs(model: Model, sequence_length: int) -> tuple[int, ...]:
    """Forward FLOPs per token of [embedding, blocks, head]: 2 per matrix entry, 4 x H x D per key seen."""
    matrices, of_key = 2 * block_matrices(model), 4 * model.heads * model.head_width
    blocks = [matrices + of_key * sequence_length] * model.layers
    if model.bands:
        seen = [min(sequence_length, model.band_of(layer) or sequence_length) for layer in range(model.layers)]
        blocks = [matrices + of_key * keys for keys in seen]
    return (2 * model.d_model, *blocks, 2 * model.padded_vocabulary * model.d_model)


def cut_stages(costs: Sequence[int], stages: int) -> list[range]:
    """Cut consecutive layers into `stages` non-empty parts with the smallest largest cost, then the most even ones.

    Needs 1 <= stages <= layers. Even: the smallest sum of squared costs; earlier cuts where that is equal.
    """
    sums = [0, *accumulate(costs)]
    limit = _smallest_limit(costs, stages)
    best: Cuts = {len(costs): (0, ())}
    for _ in range(stages):
        best = {first: min(cuts) for first in range(len(costs)) if (cuts := _first_parts(sums, best, first, limit))}
    ends = best[0][1]
    return [range(start, end) for start, end in zip((0, *ends), ends, strict=False)]


def _first_parts(sums: list[int], rest: Cuts, first: int, limit: int) -> list[tuple[int, tuple[int, ...]]]:
    """Every way to put one more part, from `first` on and not above `limit`, before what `rest` has cut already."""
    cuts = []
    for end in range(first + 1, len(sums)):
        cost = sums[end] - sums[first]
        if cost > limit:
            break
        if end in rest:
            squares, ends = rest[end]
            cuts.append((cost**2 + squares, (end, *ends)))
    return cuts


def _smallest_limit(costs: Sequence[int], stages: int) -> int:
    """The smallest cost that no stage has to exceed, by bisection."""
    low, high = max(costs), sum(costs)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _filled(costs, middle) <= stages else (middle + 1, high)
    return low


def _filled(costs: Sequence[int], limit: int) -> int:
    """Stages that are needed when each takes layers until the next would exceed `limit`."""
    stages, load = 1, 0
    for cost in costs:
        stages, load = (stages, load + cost) if load + cost <= limit else (stages + 1, cost)
    return stages


def stages_of(model: Model, parallel: Parallel, sequence_length: int) -> list[range]:
    """Indices into [embedding, blocks, head] of each stage."""
    return list(_cut(layer_costs(model, sequence_length), stage_count(parallel)))


@lru_cache(maxsize=1024)
def _cut(costs: tuple[int, ...], stages: int) -> tuple[range, ...]:
    """Kept, because a search of layouts asks for the same few cuts thousands of times."""
    return tuple(cut_stages(costs, stages))
