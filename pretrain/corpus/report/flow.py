"""The flow diagram: a lane for each source, its documents above the line and its bytes below, from stage to stage."""

from __future__ import annotations

from collections import Counter
from graphlib import TopologicalSorter

from pretrain.config.units import size
from pretrain.corpus.report.charts import color, lighter
from pretrain.page.html import Html, share, tag
from pretrain.shards.manifest import Manifest, Source, Stage

LEFT, STEP, HALF, TEXT, GAP, HEAD = 90.0, 102.0, 32.0, 28.0, 14.0, 36.0
"""Pixels: names of the sources, a stage, half a lane, the numbers above and below it, between lanes, the heading."""
LANE = 2 * (HALF + TEXT) + GAP
LOST = "#f3c9c4"
LONGEST = 16
"""Letters of a name that have room: more would run under the ribbons, or into the next stage."""

Column = tuple[str, int]
"""A stage: its name and how many of that name were before it in its source."""


def flow(manifest: Manifest) -> Html:
    """What is left of each source after each stage, as shares of what was found. Empty without stages."""
    place = {column: i for i, column in enumerate(columns(manifest), 1)}
    if not place:
        return Html()
    width, height = LEFT + STEP * (len(place) + 1), HEAD + LANE * len(manifest.sources)
    names = {0: "found", **{i: name for (name, _), i in place.items()}}
    headings = [heading for i, name in names.items() for heading in _heading(i, name)]
    lanes = [_lane(manifest, i, name, place) for i, name in enumerate(manifest.sources)]
    sizes = {"width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}"}
    return tag("div", tag("svg", *headings, *lanes, class_="flow", role="img", **sizes), class_="scroll")


def columns(manifest: Manifest) -> list[Column]:
    """The stages of all sources in an order that is that of each."""
    order: TopologicalSorter[Column] = TopologicalSorter()
    for source in manifest.sources.values():
        found = _columns(source)
        for column, before in zip(found, [None, *found[:-1]], strict=True):
            order.add(column, *([before] if before else []))
    return list(order.static_order())


def _columns(source: Source) -> list[Column]:
    seen = Counter[str]()
    found = []
    for stage in source.stages:
        found.append((stage.name, seen[stage.name]))
        seen[stage.name] += 1
    return found


def _heading(place: int, name: str) -> list[Html]:
    """A word a line; of an import path the class."""
    words = name.rpartition(".")[2].split("_", 1)
    return [_name(_x(place), 14 + 13 * i, word, name, "heading") for i, word in enumerate(words)]


def _lane(manifest: Manifest, index: int, name: str, place: dict[Column, int]) -> Html:
    source, y = manifest.sources[name], HEAD + LANE * index + TEXT + HALF
    if not source.stages:
        return _name(0, y + 4, name, name)
    at = [0, *(place[column] for column in _columns(source))]
    first, stages = source.stages[0], source.stages
    documents = [first.documents_in, *(stage.documents_out for stage in stages)]
    sizes = [first.bytes_in, *(stage.bytes_out for stage in stages)]
    return tag(
        "g",
        _name(0, y + 4, name, name),
        _ribbon(at, documents, y, -HALF, color(index)),
        _ribbon(at, sizes, y, HALF, lighter(color(index))),
        *_numbers(at, documents, [f"{count:,}" for count in documents], y - HALF - TEXT + 11),
        *_numbers(at, sizes, [size(count) for count in sizes], y + HALF + 13),
        *(_told(stage, x, y) for stage, x in zip(stages, at[1:], strict=True)),
    )


def _ribbon(at: list[int], counts: list[int], y: float, half: float, fill: str) -> Html:
    """What goes on from one stage to the next, before what is lost there."""
    highs = [y + half * count / (max(counts) or 1) for count in counts]
    lost = [
        tag("path", d=f"M{_x(one):.1f},{y:.1f}V{high:.1f}H{_x(other):.1f}V{y:.1f}Z", fill=LOST)
        for one, other, high, after in zip(at, at[1:], highs, highs[1:], strict=False)
        if abs(after - y) < abs(high - y)
    ]
    path = f"M{_x(0):.1f},{y:.1f}V{highs[0]:.1f}"
    for one, other, high, after in zip(at, at[1:], highs, highs[1:], strict=False):
        middle = (_x(one) + _x(other)) / 2
        path += f"C{middle:.1f},{high:.1f} {middle:.1f},{after:.1f} {_x(other):.1f},{after:.1f}"
    path += f"V{y:.1f}Z"
    return tag("g", *lost, tag("path", d=path, fill=fill))


def _numbers(at: list[int], counts: list[int], texts: list[str], y: float) -> list[Html]:
    """The counts where they change, with the change."""
    shown = [_text(_x(0), y, texts[0])]
    for place, before, count, text in zip(at[1:], counts, counts[1:], texts[1:], strict=False):
        if count != before:
            change = share(abs(count - before), before)
            told = ("−" if count < before else "+") + change if change != "0.0%" else "< 0.1%"
            shown += [_text(_x(place), y, text), _text(_x(place), y + 12, told, "less" if count < before else "more")]
    return shown


def _told(stage: Stage, place: int, y: float) -> Html:
    """A line where the stage stands, which tells its counts when pointed at."""
    told = f"{stage.name}: {stage.documents_in:,} to {stage.documents_out:,} documents, "
    told += f"{stage.bytes_in:,} to {stage.bytes_out:,} bytes"
    line = {"x1": _x(place), "x2": _x(place), "y1": y - HALF, "y2": y + HALF}
    return tag("line", tag("title", told), class_="stage", **line)


def _name(x: float, y: float, text: str, whole: str, class_: str = "name") -> Html:
    """A name, cut to LONGEST; the whole shows when pointed at."""
    shown = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return tag("text", shown, tag("title", whole) if shown != whole else "", x=x, y=y, class_=class_)


def _x(place: int) -> float:
    return LEFT + STEP * (place + 0.5)


def _text(x: float, y: float, text: str, class_: str = "count") -> Html:
    return tag("text", text, x=x, y=y, class_=class_)
