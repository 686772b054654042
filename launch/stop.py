"""Ending a run from outside: asked to save and end, or ended now."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from launch import slurm
from launch.record import Holder, describe, holder, read_json, read_launch
from pretrain.config.errors import ConfigError
from pretrain.resilience.attempts import Attempt, next_attempt, read_attempts
from pretrain.resilience.locks import is_locked
from pretrain.resilience.stop import request_stop

POLL = 0.5
"""Seconds between two looks."""
QUEUED = 5.0
"""The same, while SLURM must be asked."""
BETWEEN = 1.0
"""Seconds between the two interrupts that end a supervisor: of two at once the system delivers one."""


def ask_to_end(directory: Path) -> int:
    """Ask the run to save and end; returns the number of the attempt that will. Raises ConfigError when none runs."""
    if holder(directory) is None and not is_locked(directory / "lock"):
        living = _living(directory)
        fix = (
            f"its job {', '.join(living)} waits in the queue: pretrain cancel {directory}"
            if living
            else "nothing to do"
        )
        raise ConfigError.of("run", str(directory), "must be running to save", fix)
    attempts = read_attempts(directory)
    running = bool(attempts) and attempts[-1].outcome is None
    request_stop(directory, "pretrain stop", "end")
    return attempts[-1].number if running else next_attempt(directory)


def wait_for_end(directory: Path, number: int, tell: Callable[[str], None]) -> Attempt:
    """Wait until the run has ended, by attempt `number` or later, telling each change of its phase."""
    told = ""
    while True:
        attempts = [one for one in read_attempts(directory) if one.number >= number]
        last = attempts[-1] if attempts else Attempt(number, outcome="stopped", reason="it had not started")
        if attempts and last.outcome in ("finished", "stopped", "refused"):
            return last
        phase = _phase(directory, last.number)
        if not phase:
            return last
        if phase.split()[0] != told.split(" ")[0]:
            tell(f"  {phase}")
        told = phase
        time.sleep(QUEUED if phase.startswith("queued") else POLL)


def _phase(directory: Path, number: int) -> str:
    """What the run does, such as `step at step 17`; empty when nothing of it is alive, nor queued."""
    if holder(directory) is None and not is_locked(directory / "lock"):
        return f"queued, to end as soon as it starts: job {', '.join(living)}" if (living := _living(directory)) else ""
    beat = read_json(directory / "heartbeat.json")
    return f"{beat.get('phase')} at step {beat.get('step')}" if beat.get("attempt") == number else "starting"


def cancel(directory: Path) -> list[str]:
    """End the run now; what was done, a line each. Raises ConfigError when nothing runs, or it runs elsewhere."""
    if living := _living(directory):
        try:
            slurm.call("scancel", *living)
        except slurm.SlurmError as error:
            raise ConfigError.of("run", str(directory), f"cannot be cancelled: {error}", "try again") from None
        return [f"cancelled job {job}" for job in living]
    who = holder(directory)
    if who is None:
        raise ConfigError.of("run", str(directory), "must be supervised or queued to be cancelled", "nothing to do")
    if who.host != socket.gethostname():
        raise ConfigError.of("run", str(directory), f"is supervised by {describe(who)}", f"cancel it on {who.host}")
    return [_end(directory, who)]


def _end(directory: Path, who: Holder) -> str:
    """Interrupt the supervisor twice, which ends all that it started."""
    words = Path(f"/proc/{who.pid}/cmdline")
    if not words.exists() or b"launch.supervise" not in words.read_bytes():
        rule = f"is held by {describe(who)}, which is no supervisor"
        raise ConfigError.of("run", str(directory), rule, "look at that process")
    with contextlib.suppress(ProcessLookupError):  # one may be enough, as between two attempts
        for _ in range(2):
            os.kill(who.pid, signal.SIGINT)
            time.sleep(BETWEEN)
    while holder(directory) == who:
        time.sleep(POLL)
    return f"ended {describe(who)}"


def _living(directory: Path) -> list[str]:
    """The run's jobs that run or wait."""
    launch = read_launch(directory)
    if launch is None or not launch.jobs or not slurm.available():
        return []
    try:
        found = slurm.states(launch.jobs)
    except slurm.SlurmError as error:
        raise ConfigError.of("run", str(directory), f"has jobs that SLURM must name: {error}", "try again") from None
    return sorted({job.split("_")[0] for job, state in found.items() if not slurm.is_over(state)})
