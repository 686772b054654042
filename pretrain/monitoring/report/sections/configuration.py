"""The configuration of each run, and how runs differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from pretrain.monitoring.report.part import Part
from pretrain.monitoring.report.read import RunRecord
from pretrain.page.html import Html, join, table, tag

ABOUT = "run.yaml as it was resolved, with all defaults."
NAMES = ("name", "directory")
"""Fields that differ between any two runs."""


def configuration(runs: Sequence[RunRecord]) -> Part | None:
    """What differs, then everything."""
    known = [run for run in runs if run.config]
    if not known:
        return None
    whole = [
        tag(
            "details",
            tag("summary", f"{run.label}: the whole configuration"),
            tag("pre", yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)),
        )
        for run in known
    ]
    return Part("Configuration", ABOUT, join(_differences(known), *whole))


def _differences(runs: Sequence[RunRecord]) -> Html:
    if len(runs) < 2:
        return Html()
    flat = [dict(_flat(run.config)) for run in runs]
    fields = dict.fromkeys(field for fields in flat for field in fields if field not in NAMES)
    rows = [
        [tag("code", field), *(_shown(fields.get(field)) for fields in flat)]
        for field in fields
        if any(one.get(field) != flat[0].get(field) for one in flat[1:])
    ]
    return table(["differs", *(run.label for run in runs)], rows) if rows else tag("p", "The runs have equal settings.")


def _flat(value: dict[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """`optimizer.learning_rate` and its value, for all fields."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _flat(inner, f"{where}{key}.")
        else:
            yield f"{where}{key}", inner


def _shown(value: object) -> str:
    return "" if value is None else str(value)
