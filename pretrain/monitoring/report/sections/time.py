"""Where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pretrain.monitoring.lines import clock
from pretrain.monitoring.report.axes import shortened
from pretrain.monitoring.report.budget import PARTS, Budget, budget
from pretrain.monitoring.report.part import Part, plots
from pretrain.monitoring.report.read import RunRecord
from pretrain.page.html import Html, join, share, table
from pretrain.page.picture import COLORS, WIDE, Picture, frame, house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = (
    "From the first start to the end, or to the last sign of life. Steps are those that count, without the wait for "
    "data; steps done again after restarts and rollbacks are estimated with the median step; the rest is starting, "
    "counting n-grams, and what no file tells. A run without attempts.jsonl shows what metrics.jsonl knows."
)
SHADES = dict(zip(PARTS, (COLORS[0], COLORS[4], COLORS[2], COLORS[5], COLORS[1], COLORS[3], COLORS[7]), strict=True))


def time(runs: Sequence[RunRecord]) -> Part | None:
    """A bar for each run, and the numbers."""
    known = {run.label: found for run in runs if sum((found := budget(run)).parts.values())}
    if not known:
        return None
    with house_style():
        picture = Picture("time", "Shares of the time by phase", _bars(known), wide=True)
    return Part("Time", ABOUT, join(plots([picture]), _numbers(known)), (picture,))


def _bars(known: dict[str, Budget]) -> Figure:
    from matplotlib.patches import Patch

    used = [name for name in PARTS if any(found.parts.get(name) for found in known.values())]
    figure, axes = frame("Share of the time, %", (WIDE[0], 0.8 + 0.34 * len(known)), right=0.3, key=1 + (len(used) > 4))
    position = axes.get_position()
    axes.set_position((1.5 / WIDE[0], position.y0, 1 - 1.8 / WIDE[0], position.height))
    for place, found in enumerate(known.values()):
        left, whole = 0.0, sum(found.parts.values())
        for name, seconds in found.parts.items():
            wide = 100 * seconds / whole
            axes.barh(place, wide, left=left, height=0.62, color=SHADES[name])
            left += wide
    axes.set_yticks(range(len(known)), [shortened(label) for label in known])
    axes.set_ylim(len(known) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)
    corner = (0, 1 - 0.24 / figure.get_figheight())
    figure.legend(
        [Patch(color=SHADES[name]) for name in used], used, loc="upper left", bbox_to_anchor=corner, ncols=4,
        handlelength=0.8, handleheight=0.8, columnspacing=1.1, handletextpad=0.4, borderaxespad=0.0,
    )  # fmt: skip
    return figure


def _numbers(known: dict[str, Budget]) -> Html:
    headings = ["h:mm:ss", *(name for name in PARTS), "whole"]
    rows = []
    for label, found in known.items():
        whole = sum(found.parts.values())
        told = {name: f"{clock(seconds)} ({share(seconds, whole)})" for name, seconds in found.parts.items() if seconds}
        cells = (told.get(name, "") for name in PARTS)
        rows.append([label, *cells, clock(whole)])
    return table(headings, rows)
