"""What the figures have in common: a frame, curves of runs against tokens, and names beside the curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from pretrain.config.units import short
from pretrain.monitoring.report.table import Column
from pretrain.monitoring.report.thin import smooth, thin, window
from pretrain.page.picture import INK, PAPER, QUIET, frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST, ROOM = 22, 56
"""Characters of a name beside a curve, and of the names in a line over a panel."""


Style = Literal["raw and smooth", "plain", "dashed", "dots"]
"""How a curve is drawn."""


class Curve(NamedTuple):
    """Something against tokens."""

    name: str
    color: str
    x: Column
    y: Column
    style: Style = "raw and smooth"


class Mark(NamedTuple):
    """A name beside the right end of a curve."""

    y: float
    text: str
    color: str


def tokens_axis(axes: Axes, curves: Sequence[Curve], log: bool = False) -> None:
    """x is tokens, from 0 or on a logarithmic scale, to the longest curve."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    ends = [float(np.nanmax(curve.x)) for curve in curves if len(curve.x)]
    if log:
        starts = [float(np.nanmin(curve.x[curve.x > 0])) for curve in curves if (curve.x > 0).any()]
        axes.set_xscale("log")
        first = min(starts, default=1.0)
        axes.set_xlim(first, max([*ends, 1.5 * first]))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, max(ends, default=1) or 1)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value) if value else "0"))
    axes.set_xlabel("tokens")


def draw(axes: Axes, curve: Curve, log: bool = False) -> None:
    """A curve; what moves much is drawn faintly, and its mean over it."""
    x, y, color = curve.x, curve.y, curve.color
    if curve.style == "dots":
        axes.plot(x, y, color=color, lw=0.8, ls=(0, (2, 2)), marker="o", ms=3.2, mec=PAPER, mew=0.4, zorder=4)
    elif curve.style == "dashed":
        axes.plot(*thin(x, y, log), color=color, lw=1.0, ls=(0, (4, 2)), zorder=3)
    elif curve.style == "plain":
        axes.plot(*thin(x, y, log), color=color, lw=1.4, zorder=3)
    else:
        axes.plot(*thin(x, y, log), color=color, lw=0.5, alpha=0.3, zorder=2)
        axes.plot(*thin(x, smooth(y, window(len(y))), log), color=color, lw=1.4, zorder=3)


def marks(figure: Figure, axes: Axes, wanted: Sequence[Mark]) -> None:
    """Names at the right of the axes, moved apart where they would lie over each other."""
    low, high = axes.get_ylim()
    down = axes.get_yscale() == "log"
    scale = np.log if down else (lambda value: value)
    height = axes.get_position().height * figure.get_figheight() * 72
    places = [(scale(mark.y) - scale(low)) / (scale(high) - scale(low)) for mark in wanted]
    for mark, place in zip(wanted, apart(places, 11 / height), strict=True):
        axes.text(1.012, place, shortened(mark.text), color=mark.color, transform=axes.transAxes, va="center")


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Places from 0 to 1, moved so that neighbours are `gap` apart, in their order and as little as may be."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    gap = min(gap, 1 / max(1, len(places) - 1))
    moved = [min(max(places[i], 0.0), 1.0) for i in order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    if moved and moved[-1] > 1:
        moved[-1] = 1.0
        for i in range(len(moved) - 2, -1, -1):
            moved[i] = min(moved[i], moved[i + 1] - gap)
    found = [0.0] * len(places)
    for i, place in zip(order, moved, strict=True):
        found[i] = place
    return found


def key_lines(names: Sequence[str]) -> int:
    """Lines that the key of a panel takes; none where there is only one name."""
    return -(-len(names) // _columns(names)) if len(names) > 1 else 0


def _columns(names: Sequence[str]) -> int:
    """Names that have room beside each other in a panel."""
    return max(1, ROOM // (4 + max(len(shortened(name)) for name in names)))


def key(figure: Figure, names: dict[str, str]) -> None:
    """Name -> color, in a line under the title."""
    from matplotlib.lines import Line2D

    if len(names) < 2:
        return
    lines = [Line2D([], [], color=color, lw=2) for color in names.values()]
    height = figure.get_figheight()
    place = (0.0, 1 - 0.24 / height)
    figure.legend(
        lines, map(shortened, names), loc="upper left", bbox_to_anchor=place, ncols=_columns(list(names)),
        handlelength=1.0, columnspacing=1.2, handletextpad=0.4, labelspacing=0.2, borderaxespad=0.0, borderpad=0.4,
    )  # fmt: skip


def shortened(name: str) -> str:
    """A name that fits beside a curve."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def level(axes: Axes, y: float, color: str = QUIET) -> None:
    """A line to compare with."""
    axes.axhline(y, color=color, lw=0.9, ls=(0, (1, 2)), zorder=1)


def panel(
    title: str, curves: Sequence[Curve], log: bool = False, level_at: float | None = None, zero: bool = False
) -> Figure:
    """Curves against tokens in a small figure; `log`: of y, `zero`: y begins there. `level_at` is to compare with."""
    names = dict.fromkeys(curve.name for curve in curves)
    colors = {name: next(curve.color for curve in curves if curve.name == name) for name in names}
    figure, axes = frame(title, key=key_lines(list(names)))
    if log:
        axes.set_yscale("log")
    for curve in curves:
        draw(axes, curve)
    if level_at is not None:
        level(axes, level_at, INK)
    if zero:
        axes.set_ylim(bottom=0)
    tokens_axis(axes, curves)
    plain_y(axes)
    key(figure, colors)
    return figure


def plain_y(axes: Axes) -> None:
    """Numbers on the y axis as people write them; enough of them on a logarithmic axis of less than a decade too."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = axes.get_ylim()
    decades = np.log10(high / low) if axes.get_yscale() == "log" else 0.0
    logarithmic = LogLocator(numticks=6) if decades > 2.5 else LogLocator(subs=(1, 2, 5), numticks=12)
    axes.yaxis.set_major_locator(logarithmic if decades > 1 else MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))


def plain_number(value: float) -> str:
    """`12k`, `0.25`, `3e-04`; what is left of a rounding error is 0."""
    if abs(value) < 1e-15:
        return "0"
    return short(value) if abs(value) >= 1000 else f"{value:.4g}"
