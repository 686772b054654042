"""crash-report.txt: why a run is not started again by itself, and what a person can do.

Needs nothing but Python itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from launch.logs import last_words, launcher_log, tail
from pretrain.resilience.attempts import Attempt, Decision

SHOWN = 10
"""Attempts that are listed."""
LINES = 40
"""Lines of the log that are shown."""


def crash_report(directory: Path, decision: Decision, attempts: Sequence[Attempt]) -> str:
    """Attempts, reasons, the end of the log of the rank that failed, and what to do."""
    last = attempts[-1]
    _, found = last_words(directory, last.number)
    log = found or launcher_log(directory, last.number)
    lines = [f"{directory.name} was not started again: {decision.why}", "", "attempts"]
    lines += [f"  {attempt_line(attempt)}" for attempt in attempts[-SHOWN:]]
    lines += ["", f"the end of {log}"] + [f"  {line}" for line in tail(log, LINES)]
    stacks = sorted((directory / "logs").glob(f"stacks-attempt-{last.number:03d}.rank-*.txt"))
    if stacks:
        lines += ["", "where ranks stood when they were ended", *(f"  {path}" for path in stacks)]
    lines += ["", "what to do", *(f"  {line}" for line in _advice(directory, decision, last))]
    return "\n".join(lines) + "\n"


def attempt_line(attempt: Attempt) -> str:
    """`3  12-24 10:11  slurm job 17 on node1, node2  steps 100 to 250  lost: rank 0 ended without a word`."""
    parts = [f"{attempt.number}", clock(attempt.started or attempt.ended)]
    if attempt.launcher:
        job = f" job {attempt.job}" if attempt.job else ""
        shown = ", ".join(attempt.hosts[:4]) + (f" and {len(attempt.hosts) - 4} more" if len(attempt.hosts) > 4 else "")
        parts.append(f"{attempt.launcher}{job} on {shown}")
    if attempt.first_step is not None:
        reached = attempt.last_step if attempt.last_step is not None else "?"
        parts.append(f"steps {attempt.first_step} to {reached}")
    parts.append(f"{attempt.outcome or 'running'}{f': {attempt.reason}' if attempt.reason else ''}")
    return "  ".join(parts)


def clock(seconds: float | None) -> str:
    """Unix seconds as local month, day and time."""
    return time.strftime("%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "-"


def _advice(directory: Path, decision: Decision, last: Attempt) -> list[str]:
    if last.outcome == "refused":
        return ["correct what is named above, then launch again; nothing was started"]
    lines = [f"read the whole log: pretrain logs {directory} --attempt {last.number}"]
    if decision.exclude:
        lines.append(f"have these nodes looked at: {', '.join(decision.exclude)}")
    if decision.why.startswith("the same failure"):
        lines.append("it fails alike at the same place: starting it again unchanged will fail again; correct the cause")
        lines.append("a batch that diverges can be left out with data.skip, or train with a lower learning rate")
    else:
        lines.append("raise resilience.restarts.limit if these restarts were none of the run's fault")
    return [*lines, "then launch again: it goes on from the newest whole checkpoint, and restarts are counted anew"]
