"""Which layers each stage of a pipeline holds."""

from __future__ import annotations

import time
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from pretrain.config.load import load_run
from pretrain.config.model import Model
from pretrain.config.parallel import Parallel
from pretrain.config.stages import cut_stages, layer_costs, stage_count, stages_of

GPT3 = load_run("gpt3-125m", ["model=gpt3-175b"]).model


def test_seven_equal_layers_on_four_stages() -> None:
    """Four parts of at most two; of those that are equally even, the earliest cuts."""
    assert cut_stages([1] * 7, 4) == [range(0, 1), range(1, 3), range(3, 5), range(5, 7)]


def test_a_heavy_head_stands_alone() -> None:
    assert cut_stages([0, 2, 2, 2, 2, 5], 3) == [range(0, 3), range(3, 5), range(5, 6)]


def test_the_most_even_of_the_fastest() -> None:
    """4 is the slowest stage whatever the others are: 4, 2 + 1, 1 + 2 rather than 4, 3 + 1, 2."""
    assert cut_stages([4, 2, 1, 1, 2], 3) == [range(0, 1), range(1, 3), range(3, 5)]


def test_costs_of_a_layer() -> None:
    """d_model 64: a block has 12 x 64^2 = 49,152 entries; attention 4 x 64 x 128; the head 1,024 rows of 64."""
    model = Model(layers=2, d_model=64, heads=4, context=128, vocab_size=1000)
    block = 2 * 49_152 + 4 * 64 * 128
    assert layer_costs(model, 128) == [128, block, block, 2 * 1024 * 64]


def test_ninety_six_layers_on_sixty_four_stages() -> None:
    """32 stages of two blocks and 32 of one: two of these have the embedding and the head, a third of a block, too."""
    start = time.process_time()
    stages = stages_of(GPT3, Parallel(pipe=64), 2048)
    assert time.process_time() - start < 0.05
    assert len(stages) == 64
    costs = layer_costs(GPT3, 2048)
    assert max(sum(costs[layer] for layer in stage) for stage in stages) == 2 * costs[1]
    assert sorted(len(stage) for stage in stages) == [1] * 30 + [2] * 34
    assert (stages[0], stages[-1]) == (range(0, 2), range(96, 98))


def test_dualpipev_has_two_stages_a_process() -> None:
    assert [stage_count(Parallel(pipe=p, schedule="dualpipev")) for p in (1, 2, 8)] == [1, 4, 16]
    assert [stage_count(Parallel(pipe=p)) for p in (1, 2, 8)] == [1, 2, 8]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9), st.data())
def test_no_cut_is_better(costs: list[int], data: st.DataObject) -> None:
    """Against all cuts: the smallest largest cost, then the smallest sum of squares."""
    stages = data.draw(st.integers(1, len(costs)))
    cut = cut_stages(costs, stages)
    assert [layer for stage in cut for layer in stage] == list(range(len(costs)))
    assert len(cut) == stages and all(cut)
    every = [
        [sum(costs[start:end]) for start, end in pairwise((0, *ends, len(costs)))]
        for ends in combinations(range(1, len(costs)), stages - 1)
    ]
    ours = [sum(costs[layer] for layer in stage) for stage in cut]
    assert _rank(ours) == min(map(_rank, every))


def _rank(parts: list[int]) -> tuple[int, int]:
    return max(parts), sum(part**2 for part in parts)
