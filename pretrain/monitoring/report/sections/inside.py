"""What was seen inside the models: docs/inside.md says what each number tells."""

from __future__ import annotations

from collections.abc import Sequence

from pretrain.monitoring.inside_figure import inside_figure
from pretrain.monitoring.report.part import Part, plots
from pretrain.monitoring.report.read import RunRecord
from pretrain.page.picture import Picture, house_style

ABOUT = "Every part of the model, at the steps that were looked into. Dark lines are early layers, bright ones late."


def inside(runs: Sequence[RunRecord]) -> Part | None:
    """A figure for each run that was looked into."""
    with house_style():
        pictures = [
            Picture(f"inside-{run.label}", f"Norms, activations and attention of {run.label}", figure, wide=True)
            for run in runs
            if len(run.tables["inside"]) and (figure := inside_figure(run.tables["inside"], run.train))
        ]
    return Part("Inside the model", ABOUT, plots(pictures), tuple(pictures)) if pictures else None
