"""What a verification found, for a person (a table on a terminal, plain lines elsewhere) and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pretrain.config.run import Run
from pretrain.verification.compare import Tolerance
from pretrain.verification.verify import Outcome, Plan

COLUMNS = ("layout", "loss", "norm", "gradient", "seconds", "")
WIDTHS = (0, 7, 7, 8, 7, 4)
"""Characters, so that a terminal of 80 has room for a layout's name."""


def show(plan: Plan, outcomes: Iterable[Outcome], console: Console) -> list[Outcome]:
    """Print each outcome when it is there, then what failed and the sentence that sums it up; returns them all."""
    console.out(f"{plan.run.name}, scaled: {scaled_line(plan.small)}, {plan.steps} steps", highlight=False)
    console.out("largest differences to one process:", highlight=False)
    seen = (_in_table if console.is_terminal else _in_lines)(plan, outcomes, console)
    for outcome in seen:
        for line in failure_lines(outcome):
            console.out(line, highlight=False)
    console.out(closing_line(seen), highlight=False)
    return seen


def scaled_line(small: Run) -> str:
    """The scaled model and its batch."""
    model, batch = small.model, small.batch
    keys = f" ({model.key_heads} key heads)" if model.key_heads != model.heads else ""
    sizes = [batch.ramp.start.amount] if batch.ramp else []
    return (
        f"{model.layers} layers, d_model {model.d_model}, {model.heads} heads of {model.head_width}{keys}, "
        f"vocabulary {model.vocabulary} in {model.padded_vocabulary} rows, {small.sequence_length} tokens, "
        f"batch {' to '.join(map(str, [*sizes, batch.global_batch_size.amount]))}"
    )


def cells(outcome: Outcome) -> list[str]:
    """One row, in the order of COLUMNS."""
    name, seconds, verdict = outcome.trial.name, f"{outcome.seconds:.1f}", outcome.verdict
    if verdict is None:
        return [name, "-", "-", "-", seconds, "DIED"]
    numbers = [f"{number:.1e}" for number in (verdict.loss, verdict.norm, verdict.gradient)]
    return [name, *numbers, seconds, "pass" if verdict.passed else "FAIL"]


def failure_lines(outcome: Outcome) -> list[str]:
    """Where a layout that failed differs first; nothing for one that passed."""
    if outcome.passed:
        return []
    name, verdict = outcome.trial.name, outcome.verdict
    if verdict is None:
        return [f"{name}: {outcome.died}"]
    lines = [f"{name}: {tolerance_line(outcome.tolerance)}"]
    if verdict.first_parameter is None:
        lines.append("  no gradient of the first step differs")
    else:
        first, worst = verdict.first_parameter, verdict.worst_parameter
        lines.append(f"  first parameter whose gradient differs: {first} ({verdict.gradients[first]:.1e})")
        lines.append(f"  the one that differs most: {worst} ({verdict.gradient:.1e})")
    if verdict.first_step is not None:
        lines.append(f"  first step whose loss or norm differs: {verdict.first_step}")
    return lines


def tolerance_line(tolerance: Tolerance) -> str:
    """Of one number format."""
    return f"tolerances: loss {tolerance.loss:g}, norm {tolerance.norm:g}, gradient {tolerance.gradient:g}"


def closing_line(outcomes: Sequence[Outcome]) -> str:
    """How many passed."""
    passed = sum(outcome.passed for outcome in outcomes)
    return f"{passed} of {len(outcomes)} layouts give what one process gives"


def plain(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """As JSON holds it."""
    return {
        "run": plan.run.name,
        "steps": plan.steps,
        "small": plan.small.plain(),
        "passed": all(outcome.passed for outcome in outcomes),
        "layouts": [_plain_outcome(outcome) for outcome in outcomes],
    }


def _plain_outcome(outcome: Outcome) -> dict[str, Any]:
    verdict = outcome.verdict
    row = {
        "name": outcome.trial.name,
        "processes": outcome.trial.axes.processes,
        "passed": outcome.passed,
        "seconds": round(outcome.seconds, 2),
        "tolerance": vars(outcome.tolerance),
    }
    return row | ({"died": outcome.died} if verdict is None else vars(verdict))


def _in_table(plan: Plan, outcomes: Iterable[Outcome], console: Console) -> list[Outcome]:
    table = Table(box=None, pad_edge=False)
    for name, width in zip(COLUMNS, WIDTHS, strict=True):
        table.add_column(name, justify="right" if name in COLUMNS[1:-1] else "left", min_width=width, overflow="fold")
    seen = []
    with Live(table, console=console, auto_refresh=False) as live:
        for outcome in outcomes:
            seen.append(outcome)
            *row, verdict = cells(outcome)
            table.add_row(*row, f"[{'green' if outcome.passed else 'bold red'}]{verdict}[/]")
            live.refresh()
    return seen


def _in_lines(plan: Plan, outcomes: Iterable[Outcome], console: Console) -> list[Outcome]:
    longest = max(len(trial.name) for trial in plan.trials)
    console.out(_line(COLUMNS, longest), highlight=False)
    seen = []
    for outcome in outcomes:
        seen.append(outcome)
        console.out(_line(cells(outcome), longest), highlight=False)
    return seen


def _line(row: Sequence[str], longest: int) -> str:
    name, *numbers, verdict = row
    padded = [f"{number:>{width}}" for number, width in zip(numbers, WIDTHS[1:-1], strict=True)]
    return "  ".join([f"{name:<{longest}}", *padded, verdict]).rstrip()
