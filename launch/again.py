"""How a SLURM job has its run started again: the next link of its chain, a requeue, or a new job without bad nodes.

Needs nothing but Python itself.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from launch import slurm
from launch.record import read_launch, write_launch
from pretrain.resilience.attempts import Decision

PATIENCE = 600.0
"""Seconds a controller that is down may stay so before the run is given up."""
ENDING = 120.0
"""Seconds in which SLURM ends a job that was requeued."""


def start_again(directory: Path, decision: Decision, new_bad_hosts: bool) -> str:
    """Arrange that the run goes on in another job, or in this one once more; says how.

    Raises slurm.SlurmError when nothing helped, as when this job was cancelled.
    """
    job = slurm.own_job()
    if (link := next_link(directory, job)) is not None:
        if new_bad_hosts:
            slurm.call("scontrol", "update", f"JobId={link}", f"ExcNodeList={','.join(decision.exclude)}")
        return f"job {link} of the chain goes on"
    if new_bad_hosts:
        try:
            return f"job {_new_job(directory, decision)} goes on without {', '.join(decision.exclude)}"
        except slurm.SlurmError as error:
            print(f"launch: not without {', '.join(decision.exclude)}: {error}", flush=True)
    _requeue(job)
    return f"job {job} was requeued"


def next_link(directory: Path, job: str) -> str | None:
    """The job of this chain that starts when this one ends; None at its last link, and outside of chains."""
    task, last = os.environ.get("SLURM_ARRAY_TASK_ID"), os.environ.get("SLURM_ARRAY_TASK_MAX")
    if task and last:
        return os.environ["SLURM_ARRAY_JOB_ID"] if int(task) < int(last) else None
    launch = read_launch(directory)
    if launch is None or job not in launch.jobs:
        return None
    later = launch.jobs[launch.jobs.index(job) + 1 :]
    waiting = slurm.states(later) if later else {}
    return next((link for link in later if not slurm.is_over(waiting.get(link, "GONE"))), None)


def wait_for_the_end(news: Callable[[], Sequence[signal.Signals]]) -> None:
    """SLURM ends a job that was requeued; leaving before it does could be taken for the job's own end.

    `news`: signals that came since it was last called. SIGTERM is that end: who stays costs the run KillWait seconds.
    """
    until = time.monotonic() + ENDING
    while time.monotonic() < until and signal.SIGTERM not in news():
        time.sleep(0.1)


def _requeue(job: str) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            slurm.requeue(job)
            return
        except slurm.SlurmError as error:
            if time.monotonic() > until or not slurm.unreachable(str(error)):
                raise
            print(f"launch: {error}; trying again", flush=True)


def _new_job(directory: Path, decision: Decision) -> str:
    job = slurm.submit(str(directory / "job.sbatch"), [f"--exclude={','.join(decision.exclude)}"])
    if launch := read_launch(directory):
        write_launch(directory, replace(launch, jobs=[*launch.jobs, job]))
    return job
