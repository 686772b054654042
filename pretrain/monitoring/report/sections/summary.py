"""Where each run stands, in plain words and a few numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pretrain.config.units import short
from pretrain.monitoring.lines import clock
from pretrain.monitoring.report.budget import LOST, budget
from pretrain.monitoring.report.part import Part, notes
from pretrain.monitoring.report.read import RunRecord
from pretrain.monitoring.report.sections.events import happened
from pretrain.monitoring.report.table import Column
from pretrain.page.html import Html, join, share, table, tag


def summary(runs: Sequence[RunRecord]) -> Part | None:
    """A paragraph for each run; its numbers in boxes, or for several runs in a table."""
    told = [tag("p", tag("b", f"{run.label} "), " ".join(_sentences(run)), class_="said") for run in runs]
    broken = [f"{run.label}: {problem}" for run in runs for problem in run.problems]
    warning = tag("div", tag("b", "Not everything could be read."), notes(broken), class_="warning") if broken else ""
    numbers = _boxes(runs[0]) if len(runs) == 1 else _table(runs)
    return Part("Summary", "", join(numbers, *told, warning))


def state(run: RunRecord) -> str:
    """`running, step 120`, `finished`, `failed: ...`."""
    step, last = run.train.last("step"), run.attempts[-1] if run.attempts else None
    if run.running:
        return f"running, step {step:,.0f}" if step else "starting"
    if last is None:
        return "ended, nobody wrote how" if step else "not started"
    if last.gave_up:
        return f"given up: {last.gave_up}"
    return f"{last.outcome or 'lost'}{f' ({last.reason})' if last.reason and last.outcome != 'finished' else ''}"


def figures(run: RunRecord) -> dict[str, str]:
    """What the boxes and the table show; a value that is not known is empty."""
    tokens, validation = run.train.last("tokens"), run.validation
    mfu, spent = run.train["mfu"], budget(run)
    return {
        "state": state(run),
        "tokens": short(tokens) if tokens else "",
        "validation loss": _number(validation.last("loss")),
        "best": _number(_lowest(validation["loss"])),
        "bits per byte": _number(validation.last("bits_per_byte")),
        "tokens/s, median": short(_median(run.train["tokens_per_second"])) if "tokens_per_second" in run.train else "",
        "MFU, median": f"{100 * _median(mfu):.1f}%" if "mfu" in run.train else "",
        "time lost": share(spent.lost, spent.whole) if spent.whole else "",
    }


def _sentences(run: RunRecord) -> Iterator[str]:
    tokens, wanted = run.train.last("tokens"), run.setting("train", "tokens")
    words = state(run)
    if not tokens:
        yield f"{words}; metrics.jsonl has no training rows." if run.config else f"{words}; there are no metrics."
        return
    speed = _median(run.train["tokens_per_second"][-50:])
    of = f" of {short(wanted)} ({min(tokens / wanted, 1):.0%})" if wanted else ""
    left = f", about {clock((wanted - tokens) / speed)} to go" if run.running and wanted and speed else ""
    steps = "" if run.running else f" after {run.train.last('step'):,.0f} steps"
    yield f"{words}{steps}, {short(tokens)} tokens{of}{left}."
    yield from _losses(run)
    yield from _time(run)
    counts = {name: len(at) for name, at in happened(run).items() if at and name != "checkpoint"}
    yield (
        f"Events: {', '.join(f'{name} {count:,}' for name, count in counts.items())}."
        if counts
        else "No restart or spike."
    )


def _losses(run: RunRecord) -> Iterator[str]:
    last, bits = run.validation.last("loss"), run.validation.last("bits_per_byte")
    if last is None:
        told = "No validation loss is a number" if len(run.validation) else "Not validated yet"
        loss = run.train.last("loss")
        yield f"{told}; the training loss is {loss:.4f}." if loss is not None else f"{told}; no training loss is one."
        return
    losses = run.validation["loss"]
    best = int(np.nanargmin(losses))
    at = short(run.validation["tokens"][best])
    told = "the best so far" if best == len(losses) - 1 else f"the best was {losses[best]:.4f} at {at} tokens"
    yield f"Validation loss {last:.4f} nats per token{f', {bits:.4f} bits per byte' if bits else ''}; {told}."
    if "bigram" in run.baseline:
        below = run.baseline["bigram"] - last
        yield f"That is {abs(below):.3f} {'below' if below > 0 else 'above'} bigrams."


def _time(run: RunRecord) -> Iterator[str]:
    spent = budget(run)
    if spent.whole is None:
        return
    parts = sorted(((spent.parts[name], name) for name in LOST), reverse=True)
    most = ", ".join(f"{name} {clock(seconds)}" for seconds, name in parts if seconds >= 0.5)
    yield f"Of {clock(spent.whole)} in all, {share(spent.lost, spent.whole)} was lost{f' ({most})' if most else ''}."


def _boxes(run: RunRecord) -> Html:
    shown = {what: value for what, value in figures(run).items() if value and what != "state"}
    return tag("div", *(tag("div", tag("b", value), what) for what, value in shown.items()), class_="headline")


def _table(runs: Sequence[RunRecord]) -> Html:
    found = [figures(run) for run in runs]
    rows: list[list[Any]] = [[run.label, *one.values()] for run, one in zip(runs, found, strict=True)]
    return table(["run", *found[0]], rows)


def _median(values: Column) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def _lowest(values: Column) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.min()) if len(known) else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
