"""Loss against tokens: all runs over each other, as in figure 1 of LLaMA (Touvron et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pretrain.monitoring.report.axes import Curve, Mark, draw, level, marks, plain_y, tokens_axis
from pretrain.monitoring.report.part import Part, notes, plots
from pretrain.monitoring.report.read import RunRecord
from pretrain.monitoring.report.scale import Scale, scale_of
from pretrain.monitoring.report.table import Column
from pretrain.monitoring.report.thin import smooth, window
from pretrain.page.html import Html, join, table, tag
from pretrain.page.picture import QUIET, WIDE, Picture, color, frame, house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = (
    "Faint: each step. Line: the mean of its neighbours. Dots: validation, on the same texts each time. Dotted: what "
    "counting single tokens (unigrams) and pairs (bigrams) on the same training tokens reaches on the validation texts."
)
BITS = (
    "The runs have different vocabularies, so losses are in bits per byte of text: a token of a large vocabulary "
    "stands for more text, and its nats say nothing beside those of a smaller one. Training losses are turned into "
    "bits with the bytes per token of the validation texts."
)
NGRAMS = "train.ngram_baselines: true in the YAML, before the first step, adds the lines to beat."
UNCOMMON = "No source was validated by all of these runs: their totals are of different texts and do not compare."
BEGINNING = 0.02
"""Share of the tokens whose losses may lie above the figure: they would press the rest together."""


def loss(runs: Sequence[RunRecord]) -> Part | None:
    """The figure, the same on logarithmic axes, and the last validation in numbers."""
    shown = [run for run in runs if len(run.train) or len(run.validation)]
    if not shown:
        return None
    scale = scale_of(runs)
    with house_style():
        pictures = (
            Picture("loss", f"Loss against tokens, {scale.unit}", _figure(runs, scale, log=False), wide=True),
            Picture(
                "loss-on-logarithmic-axes", "The same on logarithmic axes", _figure(runs, scale, log=True), wide=True
            ),
        )
    return Part("Loss", ABOUT, join(plots(pictures), notes(_notes(shown, scale)), _last(shown, scale)), pictures)


def _notes(runs: Sequence[RunRecord], scale: Scale) -> list[str]:
    told = [BITS] if scale.bits else []
    if missing := [run.label for run in runs if not run.baseline]:
        told.append(f"No n-gram lines for {', '.join(missing)}: {NGRAMS}")
    if scale.bits and (unknown := [run.label for run in runs if not len(run.validation)]):
        told.append(f"Not drawn: {', '.join(unknown)}. Without a validation the bytes per token are not known.")
    validated = [set(run.validation.below("loss")) for run in runs if len(run.validation)]
    if len(validated) > 1 and not set.intersection(*validated):
        told.append(UNCOMMON)
    return told


def _figure(runs: Sequence[RunRecord], scale: Scale, log: bool) -> Figure:
    figure, axes = frame(f"Loss, {scale.unit}{', logarithmic axes' if log else ''}", WIDE, right=1.25)
    curves, beside = [], list[Mark]()
    if log:
        axes.set_yscale("log")
    for index, run in enumerate(runs):
        train = Curve(run.label, color(index), run.train["tokens"], scale.train(run))
        dots = Curve(run.label, color(index), run.validation["tokens"], scale.validation(run), "dots")
        for curve in (train, dots):
            draw(axes, curve, log)
        curves += [train, dots]
        if (end := _end(train, dots)) is not None:
            beside.append(Mark(end, run.label, color(index)))
    lines = _lines(runs, scale)
    axes.set_ylim(*_limits(curves, [mark.y for mark in lines], log))
    for mark in lines:
        level(axes, mark.y, mark.color)
    tokens_axis(axes, curves, log)
    plain_y(axes)
    low, high = axes.get_ylim()
    marks(figure, axes, [mark for mark in [*beside, *lines] if low <= mark.y <= high])
    return figure


def _lines(runs: Sequence[RunRecord], scale: Scale) -> list[Mark]:
    """The n-gram lines; one for all runs that agree."""
    found: dict[tuple[str, float], list[int]] = {}
    for index, run in enumerate(runs):
        for name, value in scale.baselines(run).items():
            if np.isfinite(value):
                found.setdefault((name, round(value, 4)), []).append(index)
    names = [name for name, _ in found]
    return [
        Mark(value, f"{name}s {value:.3f}", QUIET if names.count(name) == 1 else color(who[0]))
        for (name, value), who in found.items()
    ]


def _end(train: Curve, dots: Curve) -> float | None:
    """Where a run's curve ends."""
    for y in (smooth(train.y, window(len(train.y))), dots.y):
        if len(known := y[np.isfinite(y)]):
            return float(known[-1])
    return None


def _limits(curves: Sequence[Curve], levels: Sequence[float], log: bool) -> tuple[float, float]:
    """All that is drawn, but for the beginning of the training curves where axes are linear."""
    values = list(levels)
    for curve in curves:
        y = smooth(curve.y, window(len(curve.y))) if curve.style != "dots" else curve.y
        late = curve.x >= BEGINNING * np.nanmax(curve.x) if len(curve.x) else curve.x > 0
        values += list(y[np.isfinite(y) & (late | log) & ((y > 0) | (not log))])
    low, high = min(values, default=1.0), max(values, default=2.0)
    room = 0.04 * (high - low) or 0.1
    return (low * 0.98, high * 1.02) if log else (low - room, high + room)


def _last(runs: Sequence[RunRecord], scale: Scale) -> Html:
    """The last validation of each run by source, in both units, and the n-gram lines."""
    validated = [run for run in runs if len(run.validation)]
    if not validated:
        return tag("p", "Not validated yet.")
    sources = list(dict.fromkeys(source for run in validated for source in run.sources))
    units = [scale] if scale.bits else [scale, Scale(True)]
    headings = ["last validation", *(f"{run.label}, {unit.unit}" for run in validated for unit in units)]
    rows = [
        [source or "all", *(_cell(unit.validation(run, source)) for run in validated for unit in units)]
        for source in [*sources, ""]
    ]
    for name in ("bigram", "unigram"):
        if any(name in run.baseline for run in validated):
            values = [unit.baselines(run).get(name) for run in validated for unit in units]
            rows.append([f"{name}s", *("" if value is None else f"{value:.4f}" for value in values)])
    return table(headings, rows)


def _cell(values: Column) -> str:
    known = values[np.isfinite(values)]
    return f"{known[-1]:.4f}" if len(known) else ""
