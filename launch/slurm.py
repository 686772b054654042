"""SLURM's commands, each with a time limit: a controller that is down makes them wait for ever.

Needs nothing but Python itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TIMEOUT = 20.0
"""Seconds that one call may take."""
ATTEMPTS = 4
"""Calls in all while the controller does not answer, 1, 2 and 4 seconds apart."""


class SlurmError(Exception):
    """A command failed, or nobody answered it in time."""


def available() -> bool:
    """Whether SLURM's commands are installed here."""
    return shutil.which("sbatch") is not None


def call(*command: str, attempts: int = ATTEMPTS, timeout: float = TIMEOUT) -> str:
    """What a command prints. Repeated while the controller does not answer; an answer that refuses is final.

    Raises SlurmError with SLURM's own words.
    """
    for attempt in range(attempts):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        except FileNotFoundError:
            raise SlurmError(f"{command[0]} is not installed here") from None
        except subprocess.TimeoutExpired:
            said = f"no answer within {timeout:.0f} s"
        else:
            if done.returncode == 0:
                return done.stdout.strip()
            said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            if not unreachable(said):
                break
        if attempt < attempts - 1:
            time.sleep(2**attempt)
    raise SlurmError(f"{command[0]}: {said}")


def submit(script: str, options: Sequence[str] = (), known: Sequence[str] = ()) -> str:
    """sbatch; returns the id of the job. Without an answer the job may be queued all the same: it is looked for first.

    `known`: earlier jobs of the same script. Raises SlurmError.
    """
    for attempt in range(ATTEMPTS):
        try:
            return call("sbatch", "--parsable", *options, script, attempts=1).split(";")[0]
        except SlurmError as error:
            if not unreachable(str(error)):
                raise
            said = error
        time.sleep(2**attempt)
        if job := next((job for job in jobs_of(script) if job not in known), None):
            return job
    raise said


def jobs_of(script: str) -> list[str]:
    """The jobs of this user in the queue whose script it is, the newest first; of an array its one id."""
    shown = call("squeue", "--me", "--noheader", "--sort=-i", "--format=%F|%Z|%o")
    fields = [line.split("|", 2) for line in shown.splitlines()]
    return [job for job, folder, command in fields if (Path(folder) / command).resolve() == Path(script).resolve()]


def states(jobs: Sequence[str], attempts: int = ATTEMPTS) -> dict[str, str]:
    """Job id -> state (RUNNING, PENDING ...), with the reason where it waits. Forgotten jobs are left out.

    Raises SlurmError when the controller does not answer.
    """
    found = {}
    for job in jobs:
        try:
            shown = call("squeue", "--noheader", "--jobs", job, "--states=all", "--format=%i|%T|%r", attempts=attempts)
        except SlurmError as error:
            if "Invalid job id" in str(error):
                continue
            raise
        for line in shown.splitlines():
            name, state, reason = line.split("|", 2)
            found[name] = f"{state} ({reason})" if reason not in ("None", "") else state
    return found


def is_over(state: str) -> bool:
    """Whether a job in `state` neither runs nor waits."""
    return state.split()[0] not in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED")


def own_job(environment: Mapping[str, str] = os.environ) -> str:
    """The id of the job that this process runs in, `17_2` for task 2 of an array; empty outside a job."""
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    return environment.get("SLURM_JOB_ID", "")


def requeue(job: str) -> None:
    """Have the job that this process runs in start again. Raises SlurmError, also when SLURM is ending it.

    SLURM tells its processes of an end by SIGTERM, cancelled or not, and would requeue a cancelled job too. While they
    end, its state is COMPLETING for all causes; only the time limit has a reason.
    """
    state, _, reason = call("squeue", "--noheader", "--jobs", job, "--states=all", "--format=%T %r").partition(" ")
    if state not in ("RUNNING", "SUSPENDED") and reason != "TimeLimit":
        raise SlurmError(f"SLURM is ending job {job} ({state}): it was cancelled, or is requeued by SLURM itself")
    call("scontrol", "requeue", job)


def seconds(limit: str) -> float | None:
    """SLURM's times, `1-02:00:00`, `30:00` or `90` (minutes); None for UNLIMITED and the like."""
    if not (match := re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit.strip())):
        return None
    days, *parts = (int(part) if part is not None else None for part in match.groups())
    first, second, third = parts
    assert first is not None
    if days is not None:
        return days * 86400.0 + first * 3600 + (second or 0) * 60 + (third or 0)
    if third is not None:
        return first * 3600.0 + (second or 0) * 60 + third
    return first * 60.0 + (second or 0)


def time_limit(seconds: float) -> str:
    """Seconds as SLURM writes them, `1-02:00:00`, rounded up to whole minutes as SLURM counts."""
    minutes = -(-int(seconds) // 60)
    days, rest = divmod(minutes, 24 * 60)
    return f"{f'{days}-' if days else ''}{rest // 60:02d}:{rest % 60:02d}:00"


def unreachable(said: str) -> bool:
    """Whether SLURM's words mean that its controller does not answer."""
    words = (
        "no answer",
        "Unable to contact",
        "timed out",
        "Connection refused",
        "Socket timed out",
        "Communication",
        "Transport",
    )
    return any(word in said for word in words)
