"""Every start of a run, how it ended, and what that cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pretrain.monitoring.lines import clock
from pretrain.monitoring.report.budget import gaps, lost_steps
from pretrain.monitoring.report.part import Part
from pretrain.monitoring.report.read import RunRecord
from pretrain.page.html import join, table, tag

ABOUT = (
    "Steps lost: done again by the next attempt. Pause: from the end of an attempt to the first step of the "
    "next; where nobody wrote the end, all of the attempt that left nothing behind."
)


def attempts(runs: Sequence[RunRecord]) -> Part | None:
    """A table for each run that was started."""
    headings = ["attempt", "started (UTC)", "took", "steps", "processes", "where", "ended", "steps lost", "pause"]
    tables = [join(tag("h3", run.label), table(headings, _rows(run))) for run in runs if run.attempts]
    return Part("Attempts", ABOUT, join(*tables)) if tables else None


def _rows(run: RunRecord) -> list[list[Any]]:
    rows = []
    for attempt, lost, gap in zip(run.attempts, lost_steps(run), gaps(run), strict=True):
        started = datetime.fromtimestamp(attempt.started, UTC).strftime("%Y-%m-%d %H:%M:%S") if attempt.started else ""
        took = clock(attempt.ended - attempt.started) if attempt.started and attempt.ended else ""
        steps = f"{attempt.first_step if attempt.first_step is not None else '?'} to {attempt.last_step or '?'}"
        hosts = ", ".join(attempt.hosts[:4]) + (f" and {len(attempt.hosts) - 4} more" if len(attempt.hosts) > 4 else "")
        where = " ".join(part for part in (attempt.launcher, attempt.job, hosts) if part)
        ending = attempt.outcome or ("running" if run.running and attempt is run.attempts[-1] else "lost")
        told = tag("span", f"{ending}: {attempt.reason}" if attempt.reason else ending, class_="told")
        rows.append(
            [
                attempt.number,
                started,
                took,
                steps,
                attempt.processes,
                where,
                told,
                lost,
                "" if gap is None else clock(gap),
            ]
        )
    return rows
