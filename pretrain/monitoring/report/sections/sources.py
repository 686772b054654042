"""Loss of each source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pretrain.monitoring.report.axes import Curve, panel
from pretrain.monitoring.report.part import Part, notes, plots
from pretrain.monitoring.report.read import RunRecord
from pretrain.monitoring.report.scale import Scale, scale_of
from pretrain.page.html import join
from pretrain.page.picture import Picture, color, house_style

ABOUT = "As above, by source: a training loss that falls while the validation loss rises is learning by heart."
MOST = 12
"""Sources shown; those with the most tokens."""


def sources(runs: Sequence[RunRecord]) -> Part | None:
    """A panel for each source that a run was fed or validated on."""
    scale, names = scale_of(runs), list(dict.fromkeys(name for run in runs for name in run.sources))
    if len(names) < 2:
        return None
    chosen = sorted(names, key=lambda name: -max(_tokens(run, name) for run in runs))[:MOST]
    with house_style():
        pictures = tuple(
            Picture(f"loss-{name}", f"Loss of {name}, {scale.unit}", panel(f"{name}, {scale.unit}", curves))
            for name in names
            if name in chosen and (curves := _curves(runs, name, scale))
        )
    left = [f"Not shown: {len(names) - MOST} sources with fewer tokens."] if len(names) > MOST else []
    return (
        Part("Sources", f"{ABOUT} In {scale.unit}.", join(plots(pictures), notes(left)), pictures) if pictures else None
    )


def _curves(runs: Sequence[RunRecord], source: str, scale: Scale) -> list[Curve]:
    curves = []
    for index, run in enumerate(runs):
        train = Curve(run.label, color(index), run.train["tokens"], scale.train(run, source))
        dots = Curve(run.label, color(index), run.validation["tokens"], scale.validation(run, source), "dots")
        for curve in (train, dots):
            if (known := np.isfinite(curve.y)).any():
                curves.append(curve._replace(x=curve.x[known], y=curve.y[known]))
    return curves


def _tokens(run: RunRecord, source: str) -> float:
    return run.train.last(f"tokens/{source}") or 0.0
