"""Hardware, code and packages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pretrain.monitoring.report.part import Part
from pretrain.monitoring.report.read import RunRecord
from pretrain.page.html import Html, join, table, tag

ABOUT = "Of the last start of each run, from its environment.txt, which also has the difference to the commit."


def environment(runs: Sequence[RunRecord]) -> Part | None:
    """Machine and commit, packages that differ, and the files."""
    known = [run for run in runs if run.environment]
    if not known:
        return None
    rows = [
        [run.label, tag("span", _block(run, "hardware"), class_="lines"), tag("code", _block(run, "git commit")[:12])]
        for run in known
    ]
    files = [
        tag("details", tag("summary", f"{run.label}: environment.txt"), tag("pre", _shared(run.environment)))
        for run in known
    ]
    machines = table(["run", "hardware", "commit"], rows)
    return Part("Environment", ABOUT, join(machines, _packages(known), *files))


def _packages(runs: Sequence[RunRecord]) -> Html:
    """Versions that are not the same everywhere."""
    versions = [
        dict(line.split("==") for line in _block(run, "packages").splitlines() if line.count("==") == 1) for run in runs
    ]
    names = sorted({name for one in versions for name in one}, key=str.lower)
    rows = [
        [name, *(one.get(name, "") for one in versions)]
        for name in names
        if len({one.get(name) for one in versions}) > 1
    ]
    return table(["package", *(run.label for run in runs)], rows) if rows else Html()


def _block(run: RunRecord, title: str) -> str:
    """What stands under `== title` in environment.txt."""
    found = re.search(rf"^== {title}\n(.*?)(?=^== |\Z)", run.environment, re.DOTALL | re.MULTILINE)
    return found[1].strip() if found else ""


def _shared(text: str) -> str:
    """Without the difference to the commit: the page is handed around, and nobody has read through that."""
    return text.partition("== git diff\n")[0]
