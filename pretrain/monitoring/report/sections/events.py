"""What happened when: restarts, spikes, rollbacks, failed checkpoints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pretrain.config.units import short
from pretrain.monitoring.report.axes import Curve, tokens_axis
from pretrain.monitoring.report.part import Part, plots
from pretrain.monitoring.report.read import RunRecord
from pretrain.page.html import Html, join, table, tag
from pretrain.page.picture import COLORS, INK, WIDE, Picture, frame, house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = "On the axis of tokens. A spike is a step far above those before it; docs/spikes.md says what is done about it."
MOST = 300
"""Events in the table; the newest."""
LANES = {
    "restart": COLORS[0],
    "spike or NaN": COLORS[1],
    "rollback": COLORS[3],
    "update left out": COLORS[4],
    "checkpoint failed": INK,
    "slow rank": COLORS[7],
    "checkpoint": COLORS[2],
}


def events(runs: Sequence[RunRecord]) -> Part | None:
    """A time line for each run, and what was told in words."""
    with house_style():
        pictures = [
            Picture(f"events-{run.label}", "Events against tokens", _timeline(run, found), wide=True)
            for run in runs
            if len(run.train) and (found := {name: at for name, at in happened(run).items() if at})
        ]
    words = [_words(run) for run in runs if run.events]
    return Part("Events", ABOUT, join(plots(pictures), *words), tuple(pictures)) if pictures or words else None


def happened(run: RunRecord) -> dict[str, list[float]]:
    """By lane, the tokens at which it happened."""
    left_out = run.train["left_out"] > 0
    told = {name: [row["tokens"] for row in run.events if found.search(row["message"])] for name, found in TOLD.items()}
    steps, tokens = run.train["step"], run.train["tokens"]

    def at(step: int) -> float:
        return float(np.interp(step, steps, tokens)) if len(steps) else 0.0

    return {
        "restart": [at(attempt.first_step) for attempt in run.attempts[1:] if attempt.first_step is not None],
        "spike or NaN": told["spike or NaN"] + [at(row.step) for row in run.skipped],
        "rollback": [at(row.to_step) for row in run.skipped],
        "update left out": run.train["tokens"][left_out].tolist(),
        "checkpoint failed": told["checkpoint failed"],
        "slow rank": told["slow rank"],
        "checkpoint": run.tables["checkpoint"]["tokens"].tolist(),
    }


TOLD = {
    "spike or NaN": re.compile(r"^the (loss|gradient norm) is (?!.*: back to step-)"),
    "checkpoint failed": re.compile("^CHECKPOINT FAILED"),
    "slow rank": re.compile(r"^rank \d+ on \S+ is slow"),
}


def _timeline(run: RunRecord, found: dict[str, list[float]]) -> Figure:
    figure, axes = frame(f"Events: {run.label}", (WIDE[0], 0.8 + 0.22 * len(found)))
    box = axes.get_position()
    axes.set_position((1.4 / WIDE[0], box.y0, 1 - 1.6 / WIDE[0], box.height))
    for place, (name, at) in enumerate(found.items()):
        axes.plot(at, [place] * len(at), ls="", marker="|", ms=9, mew=1.8, color=LANES[name], clip_on=False)
    axes.set_yticks(range(len(found)), [f"{len(at):,} × {name}" for name, at in found.items()])
    axes.set_ylim(len(found) - 0.5, -0.5)
    tokens_axis(axes, [Curve("", "", run.train["tokens"], run.train["tokens"])])
    return figure


def _words(run: RunRecord) -> Html:
    rows = [
        [row["step"], short(row["tokens"]), tag("span", row["message"], class_="told")] for row in run.events[-MOST:]
    ]
    shown = f"the last {MOST} of " if len(run.events) > MOST else ""
    summary = tag("summary", f"{run.label}: {shown}{len(run.events):,} events in words")
    return tag("details", summary, table(["step", "tokens", "event"], rows))
