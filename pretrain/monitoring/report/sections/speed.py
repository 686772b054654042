"""Throughput, MFU, seconds a step, memory and bytes read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pretrain.monitoring.report.axes import panel
from pretrain.monitoring.report.part import Part, plots
from pretrain.monitoring.report.read import RunRecord
from pretrain.monitoring.report.sections.optimization import curves_of
from pretrain.page.picture import Picture, house_style

ABOUT = (
    "MFU: model FLOPs done / what the devices could do (Chowdhery et al. 2022, appendix B). Steps of a batch "
    "ramp are smaller, so that they may be slower. Memory and bytes read are those of the writing rank."
)
PANELS = (
    ("tokens_per_second", "Tokens per second", 1.0),
    ("mfu", "MFU, %", 100.0),
    ("step_seconds", "Seconds a step", 1.0),
    ("data_seconds", "Seconds a step waits for data", 1.0),
    ("memory_bytes", "Memory, GiB at its highest", 2.0**-30),
    ("data_bytes", "Data read a step, MB", 1e-6),
)
"""Column, title, factor."""


def speed(runs: Sequence[RunRecord]) -> Part | None:
    """A panel for each column that is not all zero."""
    found = [(column, title, curves_of(runs, column, factor=factor)) for column, title, factor in PANELS]
    with house_style():
        pictures = [
            Picture(column.replace("_", "-"), title, panel(title, curves, zero=True))
            for column, title, curves in found
            if any(np.nansum(curve.y) for curve in curves)
        ]
    return Part("Speed and memory", ABOUT, plots(pictures), tuple(pictures)) if pictures else None
