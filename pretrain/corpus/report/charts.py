"""Bars and histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pretrain.page.html import Html, join, share, tag

COLORS = ("#3565a8", "#c0722b", "#3b8754", "#8a4f9e", "#a8893a", "#2b8a96", "#b0506b", "#5d6b7a")
"""Of the sources, in order; then from the start."""
WIDTH, HEIGHT, FOOT = 280.0, 110.0, 18.0
"""Of a histogram, in pixels; labels stand at its foot."""
MOST_BARS, MOST_LABELS = 12, 10


def color(index: int) -> str:
    """Of a source."""
    return COLORS[index % len(COLORS)]


def lighter(color: str) -> str:
    """Half way to white."""
    return "#" + "".join(f"{(int(color[i : i + 2], 16) + 255) // 2:02x}" for i in (1, 3, 5))


def histogram(labels: Sequence[str], series: Mapping[str, Sequence[int]], colors: Sequence[str]) -> Html:
    """Vertical bars; the first series stands behind the others. Every bar tells its number when pointed at."""
    top = max((count for counts in series.values() for count in counts), default=0) or 1
    step = WIDTH / len(labels)
    bars = []
    for i, (name, counts) in enumerate(series.items()):
        width = step * (0.9 - 0.35 * i)
        for place, count in enumerate(counts):
            if count:
                high = max(1.0, count / top * HEIGHT)
                shape = {"x": (place + 0.5) * step - width / 2, "y": HEIGHT - high, "width": width, "height": high}
                told = tag("title", f"{labels[place]}: {count:,} {name}")
                bars.append(tag("rect", told, fill=colors[i], **shape))
    every = -(-len(labels) // MOST_LABELS)
    names = [
        tag("text", label, x=(place + 0.5) * step, y=HEIGHT + 13, text_anchor="middle")
        for place, label in enumerate(labels)
        if place % every == 0
    ]
    line = tag("line", x1=0, x2=WIDTH, y1=HEIGHT, y2=HEIGHT, stroke="#888")
    return tag("svg", *bars, line, *names, viewBox=f"-8 0 {WIDTH + 16:g} {HEIGHT + FOOT:g}", class_="chart", role="img")


def bars(counts: Mapping[str, int], color: str) -> Html:
    """Horizontal bars with counts and shares; beyond MOST_BARS they are summed up."""
    shown = dict(list(counts.items())[:MOST_BARS])
    if rest := sum(counts.values()) - sum(shown.values()):
        shown[f"{len(counts) - MOST_BARS:,} others"] = rest
    top, total = max(shown.values(), default=0) or 1, sum(shown.values())
    rows = [
        tag(
            "tr",
            tag("td", label),
            tag("td", tag("div", class_="bar", style=f"width: {count / top:.1%}; background: {color}"), class_="room"),
            tag("td", f"{count:,}", class_="number"),
            tag("td", share(count, total), class_="number quiet"),
        )
        for label, count in shown.items()
    ]
    return tag("table", tag("tbody", *rows), class_="bars")


def panel(title: object, *inner: object) -> Html:
    """A chart among others."""
    return tag("div", tag("h3", title), *inner, class_="panel")


def panels(shown: Sequence[Html]) -> Html:
    """Side by side, as many as there is room for."""
    return tag("div", *shown, class_="panels")


def legend(names: Mapping[str, str]) -> Html:
    """Name -> color."""
    marks = (join(tag("i", style=f"background: {color}"), f" {name} ") for name, color in names.items())
    return tag("p", *marks, class_="legend")
