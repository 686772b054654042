"""Shares of the sources: planned and served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pretrain.config.units import short
from pretrain.monitoring.report.axes import Curve, panel
from pretrain.monitoring.report.part import Part
from pretrain.monitoring.report.read import RunRecord
from pretrain.monitoring.report.table import Column
from pretrain.monitoring.report.thin import smooth, window
from pretrain.page.html import Html, join, share, table, tag
from pretrain.page.picture import Picture, color, house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = "Shares of the training tokens. Line: served, the mean of neighbouring batches. Dashed: the plan."
UNPLANNED = "The plan is not known: it stands in checkpoints, or in data.mixture, and there is neither."
MOST = 8
"""Sources drawn: as many as there are colours."""

Stages = list[tuple[float, dict[str, float]]]
"""First token and shares of each mixture."""


def mixture(runs: Sequence[RunRecord]) -> Part | None:
    """A figure and a table for each run with more than one source."""
    shown = [run for run in runs if len(run.train.below("tokens")) > 1]
    with house_style():
        pictures = [
            Picture(f"mixture-{run.label}".replace("/", "-"), "Shares of sources", _figure(run)) for run in shown
        ]
    parts = [
        tag("div", picture.html(), _numbers(run), class_="beside") for run, picture in zip(shown, pictures, strict=True)
    ]
    return Part("Mixture", ABOUT, join(*parts), tuple(pictures)) if shown else None


def planned(run: RunRecord) -> Stages:
    """The mixtures of the data plan, or of run.yaml; empty where neither tells."""
    plan, length = run.saved.get("plan"), 1
    if plan:
        length = plan["sequence_length"]
        stages = [
            (stage["first_sample"], dict(zip(plan["sources"], stage["weights"], strict=True)))
            for stage in plan["stages"]
        ]
    elif first := run.setting("data", "mixture"):
        later = [(stage["from_tokens"], stage["mixture"]) for stage in run.setting("data", "stages") or ()]
        stages = [(0, first), *later]
    else:
        return []
    return [
        (first * length, {name: weight / sum(weights.values()) for name, weight in weights.items()})
        for first, weights in stages
    ]


def planned_tokens(stages: Stages, source: str, tokens: float) -> float:
    """Tokens of a source among the first `tokens`. Windows that were left out are not looked at."""
    ends = [first for first, _ in stages[1:]] + [tokens]
    return sum(
        max(0.0, min(end, tokens) - first) * shares.get(source, 0.0)
        for (first, shares), end in zip(stages, ends, strict=True)
    )


def _figure(run: RunRecord) -> Figure:
    curves, stages, tokens = list[Curve](), planned(run), run.train["tokens"]
    for index, name in enumerate(_largest(run)):
        curves.append(Curve(name, color(index), tokens, _served(run, name), "plain"))
        if stages:
            x = np.array([*np.repeat([first for first, _ in stages], 2)[1:], tokens[-1]])
            y = np.array([100 * shares.get(name, 0.0) for _, shares in stages for _ in range(2)])
            inside = x <= tokens[-1]
            curves.append(Curve(name, color(index), x[inside], y[inside], "dashed"))
    return panel(f"Share of tokens, %: {run.label}", curves, zero=True)


def _served(run: RunRecord, source: str) -> Column:
    """Percent of the batch, smoothed."""
    part, whole = np.nan_to_num(run.train[f"batch_tokens/{source}"]), run.train["batch_tokens"]
    wide = window(len(whole))
    return 100 * smooth(part, wide) / np.maximum(smooth(whole, wide), 1)


def _largest(run: RunRecord) -> list[str]:
    names = [name for name in run.sources if f"tokens/{name}" in run.train]
    chosen = sorted(names, key=lambda name: -(run.train.last(f"tokens/{name}") or 0.0))[:MOST]
    return [name for name in names if name in chosen]


def _numbers(run: RunRecord) -> Html:
    served = {name: run.train.last(f"tokens/{name}") or 0.0 for name in run.sources}
    total, stages = sum(served.values()), planned(run)
    rows = []
    for name, tokens in served.items():
        row = [name, short(tokens), share(tokens, total)]
        if stages:
            wanted = planned_tokens(stages, name, total)
            row += [share(wanted, total), f"{round(100 * (tokens - wanted) / total, 2) + 0.0:+.2f}"]
        rows.append(row)
    more = ["planned", "difference, points"] if stages else []
    told = table([f"{run.label}: source", "tokens", "served", *more], rows)
    return tag("div", told, *([] if stages else [tag("p", UNPLANNED)]))
