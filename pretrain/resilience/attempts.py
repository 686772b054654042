"""attempts.jsonl: every start of a run and how it ended, and what follows from them. No torch.

Rank 0 writes `start` when all ranks have joined and the state is loaded, and `end`; the supervisor (launch/) writes the
end of an attempt that could not. Nobody rewrites a row. Needs nothing but Python itself: so does the supervisor.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

FILE = "attempts.jsonl"

Outcome = Literal["finished", "stopped", "saved", "failed", "lost", "refused"]
"""finished: nothing more to do. stopped: a person's wish. saved: ended early, to be started again. failed: by an error.
lost: ended without saying why. refused: bad input, found before training began; by the supervisor or by rank 0."""


@dataclass(frozen=True)
class Attempt:
    """One start of the run. Times are unix seconds; what no row tells is None or empty."""

    number: int
    started: float | None = None
    """When all ranks had joined; None when it did not come so far."""
    ended: float | None = None
    launcher: str = ""
    job: str = ""
    hosts: tuple[str, ...] = ()
    processes: int = 0
    first_step: int | None = None
    """The step it went on from."""
    last_step: int | None = None
    """The step it reached, as far as its end tells."""
    outcome: Outcome | None = None
    """None while it runs, or when nobody wrote its end."""
    reason: str = ""
    bad_hosts: tuple[str, ...] = ()
    code: int | None = None
    gave_up: str = ""
    """Why its supervisor did not start the run again after it, where it should have gone on."""
    followed: bool = False
    """Whether a person, and no supervisor, started the run again after it."""


@dataclass(frozen=True)
class Decision:
    """What a supervisor does after an attempt. `exclude`: hosts that the next one should not use."""

    action: Literal["done", "restart", "give up"]
    why: str
    exclude: tuple[str, ...] = ()


def next_attempt(directory: Path) -> int:
    """The number of the attempt that is about to start; counts from 1 over the life of the run directory.

    Until its first row is written every process reads the same number.
    """
    return max((int(row["attempt"]) for row in _rows(directory)), default=0) + 1


def begin(
    directory: Path, attempt: int, *, launcher: str, job: str, hosts: Sequence[str], processes: int, step: int
) -> None:
    """Record that all ranks have joined and go on from `step`. Written by rank 0."""
    row = {"launcher": launcher, "job": job, "hosts": list(hosts), "processes": processes, "step": step}
    _append(directory, "start", attempt, row)


def end(
    directory: Path,
    attempt: int,
    outcome: Outcome,
    *,
    step: int | None,
    reason: str,
    bad_hosts: Sequence[str] = (),
    code: int | None = None,
) -> None:
    """Record how an attempt ended. Written by rank 0, or by the supervisor for a rank 0 that could not."""
    row: dict[str, Any] = {"outcome": outcome, "step": step, "reason": reason}
    if bad_hosts:
        row["bad_hosts"] = list(bad_hosts)
    if code is not None:
        row["code"] = code
    _append(directory, "end", attempt, row)


def give_up(directory: Path, attempt: int, reason: str) -> None:
    """Record that nobody starts the run again by itself after this attempt. Restarts are counted anew from here."""
    _append(directory, "gave up", attempt, {"reason": reason})


def launched(directory: Path) -> None:
    """Record that a person starts the run, again or for the first time. Restarts are counted anew from here."""
    if (last := next_attempt(directory) - 1) > 0:
        _append(directory, "launched", last, {})


def read_attempts(directory: Path) -> list[Attempt]:
    """All attempts, in order. Of several ends of one attempt the first counts: rank 0's own words."""
    found: dict[int, Attempt] = {}
    for row in _rows(directory):
        number = int(row["attempt"])
        found[number] = _with(found.get(number, Attempt(number)), row)
    return [found[number] for number in sorted(found)]


def decide(attempts: Sequence[Attempt], limit: int, same_failure: int) -> Decision:
    """What follows from the attempts, the last of which has ended. A pure function of its arguments.

    `limit` and `same_failure` are those of resilience.restarts.
    Only attempts since a person last started the run count: after a row that says so, a finish, a stop or a giving up.
    """
    if not attempts:
        return Decision("restart", "no attempt yet")
    *_, last = attempts
    if last.outcome in ("finished", "stopped"):
        return Decision("done", last.reason or str(last.outcome))
    if last.outcome == "refused":
        return Decision("give up", f"refused: {last.reason}")
    recent = _since_a_person(attempts)
    exclude = tuple(sorted({host for attempt in recent for host in attempt.bad_hosts}))
    if repeated := _repeated(recent, same_failure):
        return Decision("give up", repeated, exclude)
    if len(recent) > limit:
        why = f"restarted {len(recent) - 1} times, resilience.restarts.limit is {limit}; last: {last.reason}"
        return Decision("give up", why, exclude)
    return Decision("restart", f"{last.outcome or 'lost'}: {last.reason}", exclude)


def normalised(reason: str) -> str:
    """A reason without what differs from try to try: numbers, process ids, addresses, ports, times, phases, which of a
    killed rank is that of its last sign of life, and the error in which others noticed.
    """
    reason = re.sub(r"; this rank saw \w+$", "", reason)
    reason = re.sub(r",? (?:last )?in (?:start|data|step|validation|checkpoint|end)\b(?: at step \d+)?", "", reason)
    reason = re.sub(r"0x[0-9a-fA-F]+", "#", reason)
    reason = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b", "#", reason)
    return re.sub(r"\d+(?:[.:,]\d+)*", "#", reason).strip()


def _repeated(recent: Sequence[Attempt], times: int) -> str:
    """Why this is a crash loop, or nothing: the last `times` attempts failed alike at the same step."""
    tail = recent[-times:]
    if len(tail) < times or any(attempt.outcome not in ("failed", "lost") for attempt in tail):
        return ""
    if len({(_step(attempt), normalised(attempt.reason)) for attempt in tail}) > 1:
        return ""
    if any(set(after.bad_hosts) - set(before.bad_hosts) for before, after in itertools.pairwise(tail)):
        return ""  # another node is to blame, and the next attempt goes without it
    step = _step(tail[-1])
    where = f"at step {step:,}" if step is not None else "before the first step"
    return f"the same failure {times} times in a row {where}: {tail[-1].reason}"


def _step(attempt: Attempt) -> int | None:
    return attempt.last_step if attempt.last_step is not None else attempt.first_step


def _since_a_person(attempts: Sequence[Attempt]) -> list[Attempt]:
    recent: list[Attempt] = []
    for attempt in attempts:
        recent.append(attempt)
        over = attempt.followed or attempt.gave_up or attempt.outcome in ("finished", "stopped", "refused")
        if over and attempt is not attempts[-1]:
            recent.clear()
    return recent


def _with(attempt: Attempt, row: dict[str, Any]) -> Attempt:
    if row["event"] == "start":
        return replace(
            attempt,
            started=row["time"],
            launcher=row.get("launcher", ""),
            job=str(row.get("job", "")),
            hosts=tuple(row.get("hosts", ())),
            processes=row.get("processes", 0),
            first_step=row.get("step"),
        )
    if row["event"] == "launched":
        return replace(attempt, followed=True)
    if row["event"] == "gave up":
        return replace(attempt, gave_up=row["reason"])
    if row["event"] != "end" or attempt.outcome is not None:
        return attempt
    return replace(
        attempt,
        ended=row["time"],
        outcome=row["outcome"],
        last_step=row.get("step"),
        reason=str(row.get("reason", "")),
        bad_hosts=tuple(row.get("bad_hosts", ())),
        code=row.get("code"),
    )


def _rows(directory: Path) -> list[dict[str, Any]]:
    """Every whole row; a line torn by a full disk or a dying machine is passed over."""
    path, rows = directory / FILE, []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "attempt" in row and "event" in row and "time" in row:
            rows.append(row)
    return rows


def _append(directory: Path, event: str, attempt: int, row: dict[str, Any]) -> None:
    path = directory / FILE
    directory.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"event": event, "attempt": attempt, "time": round(time.time(), 3), **row}).encode() + b"\n"
    if path.exists() and path.read_bytes()[-1:] not in (b"", b"\n"):
        line = b"\n" + line
    with open(path, "ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
