"""The best layout on each of several numbers of GPUs: strong scaling (the same batch), or weak (it grows with them)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pretrain.config.errors import ConfigError
from pretrain.config.units import BatchSize
from pretrain.planning.layouts.candidates import Space
from pretrain.planning.layouts.nothing import why_nothing
from pretrain.planning.layouts.plan import Plan
from pretrain.planning.layouts.request import check_gpus, hardware_of
from pretrain.planning.layouts.search import search
from pretrain.planning.layouts.text import seconds


class Point(NamedTuple):
    """The best layout on so many GPUs."""

    gpus: int
    plan: Plan | None
    why: str = ""
    """There is none: the rule that all break, or what does not fit."""


def sweep_counts(text: str) -> list[int]:
    """`gpus=64..2048`: 64, 128, ... 2048. Raises ConfigError."""
    found = re.fullmatch(r"gpus=(\d+)\.\.(\d+)", text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError.of("--sweep", text, "must be gpus=A..B with 1 <= A <= B", "--sweep gpus=64..2048")
    first, last = int(found[1]), int(found[2])
    check_gpus(last)
    return [first << doubled for doubled in range((last // first).bit_length())]


def points(space: Space, counts: Sequence[int], weak: bool = False) -> Iterator[Point]:
    """Of each number; with `weak` the batch of `space` is that of the first number."""
    for gpus in counts:
        there = space._replace(processes=gpus)
        if weak:
            size = BatchSize(amount=space.samples * gpus // counts[0], unit="samples")
            batch = space.run.batch.model_copy(update={"global_batch_size": size, "ramp": None})
            there = there._replace(run=space.run.model_copy(update={"batch": batch}))
        hardware = hardware_of(space.run)
        plans = search(there, hardware, top=1)
        yield Point(gpus, plans[0]) if plans else Point(gpus, None, why_nothing(there, hardware))


HEADINGS = "    GPUs  tensor  pipe  data  micro   batch    step  tok/s/GPU   MFU    days  speed-up  efficiency"


def rows(found: Sequence[Point]) -> list[str]:
    """A table. Speed-up: tokens per second by those of the first that fits; efficiency: per GPU."""
    first = next((point.plan for point in found if point.plan), None)
    return [HEADINGS, *(_row(point, first) for point in found)]


def _row(point: Point, first: Plan | None) -> str:
    plan = point.plan
    if plan is None or first is None:
        return f"{point.gpus:>8,}  none: {point.why}"
    layout, efficiency = plan.job.layout, plan.tokens_per_second / first.tokens_per_second
    return (
        f"{point.gpus:>8,}  {layout.tensor:>6}  {layout.pipe:>4}  {layout.data:>4}"
        f"  {plan.run.batch.micro_batch_size:>5}  {plan.job.samples:>6,}  {seconds(plan.time.total):>6}"
        f"  {plan.tokens_per_second:>9,.0f}  {plan.mfu:>4.0%}  {plan.days:>6.3g}"
        f"  {efficiency * plan.gpus / first.gpus:>8.3g}  {efficiency:>10.0%}"
    )
