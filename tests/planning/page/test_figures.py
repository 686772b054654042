"""What the figures of a plan are drawn from."""

from __future__ import annotations

from typing import Any

import pytest

from pretrain.page.picture import house_style
from pretrain.planning.layouts.plan import Plan
from pretrain.planning.memory.stage import StageMemory
from pretrain.planning.page.figures import (
    MEMORY,
    TIME,
    front,
    layout_words,
    map_figure,
    memory_figure,
    sweep_figure,
    time_figure,
)
from pretrain.planning.page.timeline import Box, boxes, timeline_figure
from pretrain.planning.pipeline.idle import Slot, Work
from pretrain.planning.timing.step import StepTime, step_time
from tests.planning.jobs import job


def plan(gb: float = 30.0, name: str = "gpt3-13b", gpus: int = 256, **changes: Any) -> Plan:
    """With 5 equal parts that are `gb` GB together, and no margin, on each stage."""
    made = job(name, gpus, **changes)
    stage = StageMemory(*(gb * 1e9 / 5,) * 5, 0.0)
    return Plan(made, (stage,) * made.layout.pipe, step_time(made))


def test_parts_have_colours() -> None:
    """All of them, but for what is no part of the step."""
    assert set(MEMORY) == set(StageMemory._fields)
    assert set(TIME) == set(StepTime._fields) - {"hidden"}


def test_words_of_a_layout() -> None:
    assert layout_words(plan(tensor=2, pipe=4)) == "t2 p4 d32 m1"
    assert layout_words(plan(pipe=4, schedule="dualpipev", recompute="full")) == "t1 p4 d64 m1 DualPipeV full recompute"
    assert layout_words(plan(pipe=1, tensor=1, zero=3)) == "t1 p1 d256 m1 ZeRO 3"


def test_memory_is_stacked_to_its_sum() -> None:
    axes = memory_figure(plan(30.0, pipe=4)).axes[0]
    tops = [patch.get_y() + patch.get_height() for patch in axes.patches]
    assert len(tops) == 5 * 4 and max(tops) == pytest.approx(30)
    assert axes.lines[0].get_ydata()[0] == pytest.approx(79 * 2**30 / 1e9)


def test_time_is_stacked_to_its_sum() -> None:
    found = plan(tensor=2, pipe=4)
    axes = time_figure([found]).axes[0]
    assert max(patch.get_x() + patch.get_width() for patch in axes.patches) == pytest.approx(found.time.total)


def test_a_backward_pass_begins_with_what_is_done_again() -> None:
    slots = [Slot(0, 1, Work("F", 0, 0)), Slot(2, 6, Work("B", 0, 7))]
    assert list(boxes(slots, 0.25, 4)) == [
        Box("forward", 0, 1, 0, False),
        Box("recomputed", 2, 1, 0, True),
        Box("backward", 3, 3, 0, True),
    ]


@pytest.mark.parametrize(
    ("changes", "rows", "title"),
    [
        ({"pipe": 4, "tensor": 2}, 4, "1F1B, 16 of 32 micro-batches: idle"),
        ({"pipe": 32, "gpus": 64}, 16, "1F1B, 36 of 512 micro-batches, one of 2 ranks: idle"),
        ({"pipe": 4, "gpus": 2048, "tensor": 8}, 4, "1F1B, all 16 micro-batches: idle"),
        ({"pipe": 4, "schedule": "dualpipev"}, 4, "DualPipeV, all 16 micro-batches: idle"),
    ],
)
def test_a_timeline_says_what_it_leaves_out(changes: dict[str, Any], rows: int, title: str) -> None:
    figure = timeline_figure(plan(**changes))
    assert len(figure.axes[0].get_yticks()) == rows
    assert figure.texts[0].get_text().startswith(title)


def test_the_map_tells_what_fits_from_what_does_not() -> None:
    best, small, large = plan(60.0, pipe=2), plan(20.0, pipe=4), plan(90.0, pipe=2, recompute="full")
    with house_style():
        axes = map_figure(best, [small, large]).axes[0]
    fits, beyond, star = (points.get_offsets() for points in axes.collections)
    assert [x for x, _ in fits] == pytest.approx([60, 20]) and [x for x, _ in beyond] == pytest.approx([90])
    assert [x for x, _ in star] == pytest.approx([60])
    low, high = axes.get_xlim()
    assert low < 20 and high > 90


def test_the_front_is_what_nothing_beats_in_both() -> None:
    fast, lean, beaten = plan(60.0, pipe=2), plan(20.0, pipe=2, recompute="full"), plan(50.0, pipe=2, recompute="full")
    assert front([beaten, lean, fast]) == [fast, lean]


def test_a_sweep_states_its_share_of_linear() -> None:
    plans = [plan(gpus=gpus, pipe=4) for gpus in (64, 256)]
    with house_style():
        axes = sweep_figure(plans).axes[0]
    left = plans[1].tokens_per_second / plans[0].tokens_per_second
    assert [text.get_text() for text in axes.texts] == ["100%", f"{left:.0%}"] and left < 1
