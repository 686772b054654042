"""Runs a command so that nothing it started outlives it, or whoever asked for it:

    python -m launch.keep GRACE COMMAND...

torchrun puts each worker into a session of its own, so a process group does not hold them all. Here the kernel hands
every orphan below this process to it (PR_SET_CHILD_SUBREAPER), and it is told when its own parent dies
(PR_SET_PDEATHSIG). On SIGTERM, or when the parent is gone, the command gets SIGTERM, and after GRACE seconds everything
that is still there gets SIGKILL. Needs nothing but Python itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SETTLE = 5.0
"""Seconds that what is left after the command has to end by itself."""


def keep(command: list[str], grace: float) -> int:
    """Run `command` to its end; returns its exit code, as shells tell it (128 + n for signal n)."""
    ending = Ending()
    signal.signal(signal.SIGTERM, ending)
    for ignored in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):  # the supervisor speaks for them
        signal.signal(ignored, lambda _number, _frame: None)
    control(PR_SET_CHILD_SUBREAPER, 1)
    control(PR_SET_PDEATHSIG, signal.SIGTERM)
    parent = os.getppid()
    child = subprocess.Popen(command)
    told: float | None = None
    while (code := _reap(child.pid)) is None:
        if os.getppid() != parent:
            ending.asked = True
        if ending.asked and told is None:
            told = time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)
        if told is not None and time.monotonic() - told > grace:
            _kill(descendants(os.getpid()), signal.SIGKILL)
        time.sleep(0.05)
    end_all(SETTLE)
    return code


class Ending:
    """Set by SIGTERM."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        self.asked = True


def end_all(settle: float) -> None:
    """End everything below this process: SIGTERM, and SIGKILL after `settle` seconds."""
    until = time.monotonic() + settle
    _kill(descendants(os.getpid()), signal.SIGTERM)
    while left := descendants(os.getpid()):
        if time.monotonic() > until:
            _kill(left, signal.SIGKILL)
        _reap(None)
        time.sleep(0.05)


def descendants(root: int) -> list[int]:
    """Process ids of all that stand below `root`, zombies not counted."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                parents[int(entry.name)] = int(parent), state
    found = {root}
    while more := {pid for pid, (parent, _) in parents.items() if parent in found} - found:
        found |= more
    return sorted(pid for pid in found - {root} if parents[pid][1] != "Z")


def control(option: int, value: int) -> None:
    """prctl(2). A system without it runs on, without that safety."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _reap(child: int | None) -> int | None:
    """Collect whatever has ended; the exit code of `child` once it has."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _kill(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


if __name__ == "__main__":
    try:
        sys.exit(keep(sys.argv[2:], float(sys.argv[1])))
    except OSError as error:
        print(f"launch: {sys.argv[2]} cannot be started: {error}", file=sys.stderr)
        sys.exit(127)
