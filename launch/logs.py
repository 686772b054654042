"""The log files of a run: one of each rank and attempt, and one of what started them.

logs/
    attempt-003.log                         the launcher's own output
    attempt-003.rank-00002.log              standard output and error of rank 2
    stacks-attempt-003.rank-00002.txt       where rank 2 stood when it was ended because of a hang
Needs nothing but Python itself.
"""

from __future__ import annotations

import re
from pathlib import Path

TAIL = 256 * 1024
"""Bytes from the end of a log that are looked at."""


def launcher_log(directory: Path, attempt: int) -> Path:
    """Where the launcher's own output goes."""
    return directory / "logs" / f"attempt-{attempt:03d}.log"


def rank_logs(directory: Path, attempt: int) -> list[Path]:
    """The logs of the ranks that wrote any, in the order of ranks."""
    return sorted((directory / "logs").glob(f"attempt-{attempt:03d}.rank-*.log"))


def rank_of(log: Path) -> int:
    """The rank that wrote a log."""
    match = re.search(r"rank-(\d+)", log.name)
    return int(match[1]) if match else 0


def attempts_logged(directory: Path) -> list[int]:
    """Numbers of the attempts that have logs."""
    names = (re.match(r"attempt-(\d+)\.", path.name) for path in (directory / "logs").glob("attempt-*.log"))
    return sorted({int(match[1]) for match in names if match})


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file that are not empty; none when it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def last_words(directory: Path, attempt: int) -> tuple[str, Path | None]:
    """The line that best says why an attempt ended, and the log it stands in.

    First a message of ours that speaks of more than waiting for another rank; then any; then an exception; then what
    the launcher says of the rank that failed first; then whatever came last, if it is no line of metrics nor one of
    torch's warnings.
    """
    launcher = launcher_log(directory, attempt)
    ranks = rank_logs(directory, attempt)
    ours = told(directory, attempt)
    own = [(line, log) for line, log in ours if "this rank was waiting" not in line]
    lasts = [(lines[0], log) for log in (*ranks, launcher) if (lines := tail(log, 1)) and not _TALK.match(lines[0])]
    raised = [(line, log) for line, log in lasts if _RAISED.match(line)]
    found = [(line, launcher)] if (line := launcher_words(launcher)) else []
    return next(iter([*own, *ours, *raised, *found, *lasts]), ("", None))


_TALK = re.compile(r"step\s+\d+\s|\[[IW]\d{4} ")


def told(directory: Path, attempt: int) -> list[tuple[str, Path]]:
    """The last message of the training in each log that has one."""
    logs = (*rank_logs(directory, attempt), launcher_log(directory, attempt))
    return [(line, log) for log in logs if (line := _told(log))]


_RAISED = re.compile(r"[\w.]*(?:Error|Exception|Interrupt)\b")
_SAID = (
    (r"Root Cause.*?rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", "rank {0} ended with exit code {1}"),  # torchrun
    (r"srun: error: (\S+): tasks? ([\d,-]+): (?!Exited with exit code 0)([^\n]+)", "task {1} on {0}: {2}"),
    (r"exits with return code = (-?\d+)", "a rank ended with exit code {0}"),  # deepspeed
)


def launcher_words(log: Path) -> str:
    """What torchrun, srun or deepspeed say of the process that failed first; empty when they say nothing."""
    text = "\n".join(tail(log, 200))
    for pattern, words in _SAID:
        if match := re.search(pattern, text, re.DOTALL):
            return words.format(*match.groups())
    return ""


def _told(log: Path) -> str:
    """The last message of a rank, with the lines that belong to it."""
    lines = tail(log, 200)
    starts = [number for number, line in enumerate(lines) if line.startswith("pretrain: ")]
    if not starts:
        return ""
    first, rest = lines[starts[-1]], lines[starts[-1] + 1 :]
    more = [line.strip() for line in rest if re.match(r"\s+(rule|fix):", line)][:2]
    return "; ".join([first.removeprefix("pretrain: "), *more])
