"""The learning rate of a run as a table: what its schedule and batch ramp do, before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from pretrain.config.run import Run
from pretrain.config.units import short
from pretrain.data.plan import DataPlan, make_plan
from pretrain.training.schedule import learning_rate

WIDTH = 40
"""Characters of the longest bar."""


class Row(NamedTuple):
    """One step, counted from 1."""

    tokens: int
    """After it."""
    step: int
    batch: int
    """Samples."""
    rate: float


def schedule_rows(run: Run, rows: int) -> Iterator[Row]:
    """About `rows` steps, evenly over the tokens, and those at which something begins or ends."""
    plan = make_plan(run, ("any",), {"any": Decimal(1)})
    last, schedule, total = plan.steps(run.train.tokens), run.schedule, run.train.tokens
    corners = [schedule.warmup, schedule.decay, total - schedule.cooldown_of(total)]
    places = [total * n // (rows - 1) for n in range(rows)] + [place for place in corners if place]
    steps = {plan.steps(max(1, place)) for place in places} | {1, plan.phases[-1].first_step + 1}
    for step in sorted(step for step in steps if step <= last):
        yield _row(run, plan, step)


def _row(run: Run, plan: DataPlan, step: int) -> Row:
    tokens = plan.tokens_before(step)
    return Row(tokens, step, plan.batch(step - 1)[1], learning_rate(run, tokens))


def schedule_text(rows: Iterator[Row], peak: float) -> str:
    """A line for each row, with a bar as long as its learning rate."""
    lines = [f"{'tokens':>8}  {'step':>9}  {'batch':>6}  {'learning rate':>13}"]
    for row in rows:
        bar = "#" * round(WIDTH * row.rate / peak)
        lines.append(f"{short(row.tokens):>8}  {row.step:>9,}  {row.batch:>6,}  {row.rate:>13.3e}  {bar}".rstrip())
    return "\n".join(lines)
