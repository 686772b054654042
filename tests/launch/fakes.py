"""Stand-ins that cost nothing: a training that does as it is told, SLURM's commands that write down their calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

QUICK = ("--backoff", "0.1", "--kill", "0.5", "--spoken", "0.5")
"""Waits of the supervisor, shortened."""

TRAINING = '''
"""fake.py RUNDIR ACT...: attempt n does the n-th act."""
import json, os, signal, subprocess, sys, time
from pathlib import Path
from pretrain.resilience.attempts import begin, end, next_attempt
from pretrain.resilience.stop import clear_stop, read_stop

directory, acts = Path(sys.argv[1]), sys.argv[2:]
number = next_attempt(directory)
act, _, value = acts[min(number, len(acts)) - 1].partition(":")


def start():
    begin(directory, number, launcher="fake", job="", hosts=["here"], processes=1, step=7)


def beat(step, verdict=None):
    plain = {"time": time.time(), "attempt": number, "phase": "step", "step": step, "verdict": verdict}
    (directory / "heartbeat.tmp").write_text(json.dumps(plain))
    os.replace(directory / "heartbeat.tmp", directory / "heartbeat.json")


def leave(outcome, reason, code, **more):
    end(directory, number, outcome, step=9, reason=reason, **more)
    sys.exit(code)


if act == "refuse":
    print("pretrain: batch.global_batch_size = 7\\n    rule: must be even\\n    fix:  8")
    sys.exit(2)
if act == "no-start":
    print(f"pretrain: ImportError in process {os.getpid()}")
    sys.exit(int(value or 1))
start()
beat(8)
if act == "finish":
    leave("finished", "", 0)
if act == "save":
    leave("saved", "SIGTERM", 75)
if act == "fail":
    leave("failed", value or f"rank 1 ended without a word, process {os.getpid()}", 1)
if act == "bad-host":
    leave("failed", f"rank 1 on {value} hangs", 1, bad_hosts=[value])
if act == "leave":  # with this exit code, and nothing written
    sys.exit(int(value))
if act == "die":
    print("Traceback", "IndexError: list index out of range", sep="\\n", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
if act == "obey":  # until the stop request comes
    print("waiting", flush=True)
    while not (asked := read_stop(directory)):
        beat(8)
        time.sleep(0.05)
    clear_stop(directory)
    leave("stopped" if asked.then == "end" else "saved", asked.why, 0 if asked.then == "end" else 75)
if act == "deaf":  # ends for nothing but SIGKILL, and so does what it started
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    (directory / "deaf.txt").write_text(f"{os.getpid()} {child.pid}")
    if value == "verdict":
        beat(8, "rank 3 on node2 hangs in data at step 17")
    time.sleep(600)
raise SystemExit(f"no act {act}")
'''

SCHEDULER = """#!/bin/sh
# writes down its call, then answers as the file beside it says
name=$(basename "$0")
echo "$name $*" >> "$FAKE_SLURM/calls"
[ -f "$FAKE_SLURM/$name.sleep" ] && sleep "$(cat "$FAKE_SLURM/$name.sleep")"
[ -f "$FAKE_SLURM/$name.error" ] && { cat "$FAKE_SLURM/$name.error" >&2; exit 1; }
[ -f "$FAKE_SLURM/$name.out" ] && cat "$FAKE_SLURM/$name.out"
exit 0
"""


class FakeSlurm:
    """sbatch, squeue, scontrol, scancel and sinfo on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "slurm"
        (self.folder / "bin").mkdir(parents=True)
        for name in ("sbatch", "squeue", "scontrol", "scancel", "sinfo"):
            (self.folder / "bin" / name).write_text(SCHEDULER)
            (self.folder / "bin" / name).chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """What makes processes find it."""
        return {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "FAKE_SLURM": str(self.folder)}

    @property
    def calls(self) -> list[str]:
        """Every call so far."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def answer(self, **answers: str) -> None:
        """`squeue_out="RUNNING None"`, `sbatch_error="..."`, `squeue_sleep="30"`."""
        for name, text in answers.items():
            command, _, kind = name.rpartition("_")
            (self.folder / f"{command}.{kind}").write_text(text + "\n")


def in_job(slurm: FakeSlurm, **more: str) -> dict[str, str]:
    """The environment of job 17's batch script."""
    return {**slurm.environment, "SLURM_JOB_ID": "17", **more}


def start_supervisor(
    directory: Path,
    acts: list[str],
    *options: str,
    environment: dict[str, str] | None = None,
    stdout: int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """A supervisor over the fake training that does `acts`, one each attempt, the last again and again."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "fake.py").write_text(TRAINING)
    command = [sys.executable, str(directory / "fake.py"), str(directory), *acts]
    return subprocess.Popen(
        [sys.executable, "-m", "launch.supervise", str(directory), *QUICK, *options, "--", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
    )


def supervise(
    directory: Path, acts: list[str], *options: str, environment: dict[str, str] | None = None
) -> tuple[int, str]:
    """The supervisor's exit code and output."""
    process = start_supervisor(directory, acts, *options, environment=environment)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def ends(directory: Path) -> list[tuple[int, str, str]]:
    """(attempt, outcome, reason) of every end row, and (attempt, "gave up", reason)."""
    rows = [json.loads(line) for line in (directory / "attempts.jsonl").read_text().splitlines()]
    return [
        (row["attempt"], row.get("outcome", row["event"]), row["reason"])
        for row in rows
        if row["event"] in ("end", "gave up")
    ]


def wait_for(happened: Callable[[], object], seconds: float = 30) -> None:
    """Until `happened()` is true. Raises AssertionError when it does not come to that."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def send(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to the supervisor alone."""
    os.kill(process.pid, number)
