"""What the planner said of a run's steps, beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pretrain.config.units import short, size
from pretrain.monitoring.report.part import Part
from pretrain.monitoring.report.read import RunRecord
from pretrain.page.html import table

ABOUT = (
    "Of steps before the 20th, by the figures of the run's cluster.hardware. Where they are far apart, "
    "pretrain plan --calibrate fits those figures to measured runs."
)
SHOWN = {
    "step_seconds": ("seconds a step", "{:.3g}".format),
    "tokens_per_second": ("tokens per second", short),
    "memory_bytes": ("memory of the writing rank's GPU", lambda value: size(int(value))),
}
"""By column: its name and how its numbers are written."""


def planned(runs: Sequence[RunRecord]) -> Part | None:
    """A row for each run and number."""
    rows = [row for run in runs for row in _rows(run)]
    headings = ["run", "", "planned", "measured", "measured / planned"]
    return Part("Planned and measured", ABOUT, table(headings, rows)) if rows else None


def _rows(run: RunRecord) -> list[list[Any]]:
    found, rows = run.tables["planned"], []
    for column, (name, written) in SHOWN.items():
        said = found.last(column) if column in found else None
        measured = found.last(f"measured_{column}") if column in found else None
        if said and measured is not None:
            rows.append([run.label, name, written(said), written(measured), f"{measured / said:.2f}"])
    return rows
