"""report.html: one run, or several over each other, on one page without scripts, fonts or network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pretrain import page
from pretrain.monitoring.report.part import Part
from pretrain.monitoring.report.read import RunRecord, read_runs
from pretrain.monitoring.report.sections import SECTIONS
from pretrain.page.html import Html, tag
from pretrain.shards.files import write_where_asked

FILE = "report.html"


def write(directories: Sequence[Path], out: Path | None = None, pictures: Path | None = None) -> list[Path]:
    """Write the page to `out` (default: into the run directory, or here for several runs), and with `pictures` each
    figure as SVG and PNG into that directory. Returns the paths.

    Raises ConfigError for a directory that is not a run's, or when a file cannot be written.
    """
    runs = read_runs(list(directories))
    parts = make_parts(runs)
    out = out or (runs[0].directory / FILE if len(runs) == 1 else Path(FILE))
    write_where_asked(out, render(runs, parts).encode())
    saved = [path for part in parts for picture in part.pictures for path in picture.save(pictures)] if pictures else []
    return [out, *saved]


def make_parts(runs: Sequence[RunRecord]) -> list[Part]:
    """The sections that have something to show."""
    return [part for section in SECTIONS if (part := section(runs)) is not None]


def render(runs: Sequence[RunRecord], parts: Sequence[Part]) -> str:
    """The page: a function of the files in the run directories, and of whether they are in use."""
    name = ", ".join(run.label for run in runs)
    sections = [page.Section(part.title, part.about, part.body) for part in parts]
    return page.render(f"Run {name}", _header(runs, name), sections, page.stylesheet(__package__))


def _header(runs: Sequence[RunRecord], name: str) -> Html:
    return tag("h1", "Run " if len(runs) == 1 else "Runs ", name)
