"""The sections of the page. Each shows what the files hold, or is empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pretrain.config.units import short, size
from pretrain.corpus.report import found
from pretrain.corpus.report.charts import bars, color, histogram, legend, panel, panels
from pretrain.corpus.report.flow import flow
from pretrain.corpus.show import summarize
from pretrain.page.html import Html, join, share, table, tag
from pretrain.shards.manifest import Manifest

Statistics = Mapping[str, Any]
SIZES = ("read_bytes", "kept_bytes")
READ, KEPT = "#c9d1da", "#3565a8"
SHOWN_SAMPLES, SAME_REASON = 8, 2
"""Documents of a source that are shown, kept and dropped; of those that one rule dropped for one reason."""


def sources(manifest: Manifest) -> Html:
    """Their sizes and shares."""
    headings = ["source", "documents", "tokens", "bytes", "bytes/token", "share by weight", "share by size"]
    summaries = summarize(manifest)
    rows: list[list[Any]] = [
        [one.name, one.documents, one.tokens, one.text_bytes, f"{one.text_bytes / (one.tokens or 1):.2f}"]
        for one in summaries
    ]
    for row, one in zip(rows, summaries, strict=True):
        row += [f"{one.share:.1%}", f"{one.natural_share:.1%}", one.validation_tokens]
    totals = [sum(column) for column in zip(*(row[1:4] for row in rows), strict=True)]
    held_out = sum(one.validation_tokens for one in summaries)
    rows.append(["all", *totals, f"{totals[2] / (totals[1] or 1):.2f}", "", "", held_out])
    return table([*headings, "validation tokens"], rows, "totals")


def stages(manifest: Manifest) -> Html:
    """The diagram, and every number of it."""
    rows: list[list[Any]] = []
    for name, source in manifest.sources.items():
        for stage in source.stages:
            lost = stage.documents_in - stage.documents_out
            counts = [stage.documents_in, stage.documents_out, share(lost, stage.documents_in)]
            lost = stage.bytes_in - stage.bytes_out
            counts += [stage.bytes_in, stage.bytes_out, share(lost, stage.bytes_in)]
            rows.append([name, stage.name, *counts, tag("small", _brief(stage.parameters))])
    if not rows:
        return Html()
    headings = ["source", "stage", "documents in", "out", "lost", "bytes in", "out", "lost", "parameters"]
    numbers = tag("details", tag("summary", "All numbers, with the parameters of the stages"), table(headings, rows))
    return join(flow(manifest), numbers)


def _brief(value: object) -> str:
    """Parameters without the marks of JSON."""
    if isinstance(value, dict):
        return "; ".join(f"{key} {_brief(inner)}" for key, inner in value.items())
    return ", ".join(map(_brief, value)) if isinstance(value, list | tuple) else str(value)


def lengths(statistics: Statistics) -> Html:
    """What was read against what is kept, on one scale of sizes."""
    powers = [
        _power(bucket) for one in statistics.values() for name in SIZES for bucket in one["measures"].get(name, ())
    ]
    if not powers:
        return Html()
    scale = range(min(powers), max(powers) + 1)
    labels = ["0" if power < 0 else _binary(1 << power) for power in scale]
    shown = []
    for name, one in statistics.items():
        counts = [{_power(b): n for b, n in one["measures"].get(measure, {}).items()} for measure in SIZES]
        series = {what: [c.get(power, 0) for power in scale] for what, c in zip(("read", "kept"), counts, strict=True)}
        shown.append(panel(name, histogram(labels, series, (READ, KEPT))))
    return join(legend({"read": READ, "kept for training": KEPT}), panels(shown))


def _power(bucket: str) -> int:
    """-1 for empty documents."""
    return int(bucket).bit_length() - 1


def _binary(count: int) -> str:
    for limit, unit in ((1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")):
        if count >= limit:
            return f"{count // limit}{unit}"
    return str(count)


def by_count(measure: str) -> Callable[[Statistics], Html]:
    """A section of horizontal bars, the largest first."""
    return _measured(measure, lambda counts, color: bars(dict(Counter(counts).most_common()), color))


def in_order(measure: str) -> Callable[[Statistics], Html]:
    """A section of horizontal bars in the order of their names."""
    return _measured(measure, bars)


def deciles(measure: str) -> Callable[[Statistics], Html]:
    """A section of histograms from 0.0 to 0.9."""
    labels = [f"{tenth / 10:.1f}" for tenth in range(10)]
    return _measured(
        measure,
        lambda counts, color: histogram(labels, {"documents": [counts.get(label, 0) for label in labels]}, [color]),
    )


def _measured(measure: str, chart: Callable[[Mapping[str, int], str], Html]) -> Callable[[Statistics], Html]:
    def section(statistics: Statistics) -> Html:
        shown = [
            panel(name, chart(one["measures"][measure], color(i)))
            for i, (name, one) in enumerate(statistics.items())
            if one["measures"].get(measure)
        ]
        return panels(shown) if shown else Html()

    return section


def duplicates(folder: Path) -> Html:
    """Sizes of the clusters, and the largest of them."""
    clusters = found.clusters(folder)
    if not clusters.sizes:
        return Html()
    sizes = {f"{members:,} documents": count for members, count in clusters.sizes.items()}
    shown = [tag("ol", *map(_member, rows)) for rows in clusters.largest]
    examples = panel("the largest clusters", tag("div", *shown, class_="clusters"))
    return tag("div", panel("clusters by size", bars(sizes, color(0))), examples, class_="panels wide")


def _member(row: Mapping[str, Any]) -> Html:
    return tag(
        "li", tag("b", "kept " if row["kept"] else ""), f"{row['source']}, ", _origin(row), f", {size(row['bytes'])}"
    )


def contamination(folder: Path) -> Html:
    """Counts of all documents with hits, and a list of the first."""
    hits = found.hits(folder)
    if not hits.rows:
        return Html()
    counts = [[name, fate, count] for name, fates in hits.fates.items() for fate, count in sorted(fates.items())]
    rows = [
        [row["source"], _origin(row), tag("q", row["text"]), _file(row["example"]), row["ngrams"], found.fate(row)]
        for row in hits.rows
    ]
    headings = ["source", "document", "first match", "in example", "n-grams", "the document was"]
    total = sum(fates.total() for fates in hits.fates.values())
    note = tag("p", f"{len(rows):,} of {total:,} documents with matches:")
    return join(table(["source", "documents that were", "count"], counts), note, table(headings, rows, "hits"))


def samples(statistics: Statistics, folder: Path) -> Html:
    """Kept and dropped documents side by side."""
    dropped = {name: list[dict[str, Any]]() for name in statistics}
    for row in found.dropped(folder):
        dropped.setdefault(row["source"], []).append(row)
    return join(*(_side_by_side(name, statistics.get(name, {}).get("kept", []), dropped[name]) for name in dropped))


def _side_by_side(name: str, kept: Sequence[dict[str, Any]], dropped: Sequence[dict[str, Any]]) -> Html:
    chosen = sorted(list(_few(dropped))[:SHOWN_SAMPLES], key=_reason)
    left = [_sample(row) for row in kept[: len(chosen) or SHOWN_SAMPLES // 2]]
    columns = [tag("div", tag("h4", "kept"), *left)]
    if chosen:
        right = (_sample(row, tag("b", _reason(row)), f" {size(row['bytes'])}, ") for row in chosen)
        columns.append(tag("div", tag("h4", "dropped by rules"), *right, class_="dropped"))
    summary = tag("summary", tag("b", name), f": {len(left)} kept, {len(chosen)} dropped")
    opened = {"open": ""} if chosen else {}
    return tag("details", summary, tag("div", *columns, class_="sides"), **opened)


def _few(dropped: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The first SAME_REASON of each reason."""
    reasons = Counter[str]()
    for row in dropped:
        reasons[_reason(row)] += 1
        if reasons[_reason(row)] <= SAME_REASON:
            yield row


def _reason(row: Mapping[str, Any]) -> str:
    return f"{row['rule']}: {row['reason']}"


def _sample(row: Mapping[str, Any], *about: object) -> Html:
    return tag("figure", tag("figcaption", *about, _origin(row)), tag("blockquote", row["text"], dir="auto"))


def _origin(row: Mapping[str, Any]) -> Html:
    """Where a document comes from; its whole path shows when pointed at."""
    name = join(_file(row["file"]), f":{row['record']}", f" ({row['id']})" if row["id"] else "")
    return tag("span", name, title=row["file"], class_="quiet")


def _file(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def headline(manifest: Manifest) -> Html:
    """The corpus in five numbers."""
    firsts = [source.stages[0] for source in manifest.sources.values() if source.stages]
    splits = [split for source in manifest.sources.values() for split in source.splits.values()]
    numbers = {
        "documents found": f"{sum(stage.documents_in for stage in firsts):,}",
        "of text found": size(sum(stage.bytes_in for stage in firsts)),
        "documents kept": f"{sum(split.documents for split in splits):,}",
        "of text kept": size(sum(split.text_bytes for split in splits)),
        "tokens": short(sum(split.tokens for split in splits)),
    }
    shown = {what: number for what, number in numbers.items() if firsts or "found" not in what}
    return tag("div", *(tag("div", tag("b", number), what) for what, number in shown.items()), class_="headline")
