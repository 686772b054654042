"""Learning rate and gradient norm."""

from __future__ import annotations

from collections.abc import Sequence

from pretrain.monitoring.report.axes import Curve, Style, panel
from pretrain.monitoring.report.part import Part, plots
from pretrain.monitoring.report.read import RunRecord
from pretrain.page.picture import Picture, color, house_style

ABOUT = "The gradient norm is that before clipping; the dotted line is optimizer.clip, where all runs have the same."


def optimization(runs: Sequence[RunRecord]) -> Part | None:
    """Two panels."""
    clips = {run.setting("optimizer", "clip") for run in runs}
    clip = clips.pop() if len(clips) == 1 else None
    with house_style():
        pictures = [
            Picture(name.replace("_", "-"), title, panel(title, curves, log, at or None, zero=not log))
            for name, title, log, at in (
                ("learning_rate", "Learning rate", False, None),
                ("grad_norm", "Gradient norm", True, clip),
            )
            if (curves := curves_of(runs, name, "plain" if name == "learning_rate" else "raw and smooth"))
        ]
    return Part("Optimization", ABOUT, plots(pictures), tuple(pictures)) if pictures else None


def curves_of(
    runs: Sequence[RunRecord], column: str, style: Style = "raw and smooth", factor: float = 1
) -> list[Curve]:
    """A column of the training rows of every run that has it."""
    return [
        Curve(run.label, color(index), run.train["tokens"], run.train[column] * factor, style)
        for index, run in enumerate(runs)
        if column in run.train
    ]
