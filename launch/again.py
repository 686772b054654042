"""How a SLURM job has its run started again: the next link of its chain, a requeue, or a new job without bad nodes.

    python -m launch.again RUNDIR

does it for a supervisor that was killed. Needs nothing but Python itself.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launch import slurm
from launch.record import read_launch, write_launch
from launch.say import say
from pretrain.resilience.attempts import Decision

PATIENCE = 600.0
"""Seconds a controller that is down may stay so before the run is given up."""
ENDING = 120.0
"""Seconds in which SLURM ends a job that was requeued."""


@dataclass(frozen=True)
class Next:
    """The jobs in which the run goes on, the first to start first, and how that came."""

    jobs: tuple[str, ...]
    words: str


def by_a_person(directory: Path) -> bool:
    """Whether this job was submitted by a person: it is no requeued one, no later link and not our own new job."""
    if int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0:
        return False
    if task := os.environ.get("SLURM_ARRAY_TASK_ID"):
        return task == os.environ.get("SLURM_ARRAY_TASK_MIN", task)
    launch = read_launch(directory)
    return launch is None or slurm.own_job() not in launch.jobs[1:]


def start_again(directory: Path, decision: Decision, new_bad_hosts: bool, exclude: str = "") -> Next:
    """Arrange that the run goes on in another job, or in this one once more. `exclude`: nodes never wanted.

    Raises slurm.SlurmError when nothing helped, as when this job was cancelled.
    """
    job, bad = slurm.own_job(), ", ".join(decision.exclude)
    excluded = ",".join([*([exclude] if exclude else []), *decision.exclude])
    if links := later_links(directory, job):
        if new_bad_hosts:
            _leave_out(links, excluded)
        return Next(tuple(links), f"job {links[0]} of the chain goes on")
    if new_bad_hosts:
        try:
            new = _new_job(directory, excluded)
            return Next((new,), f"job {new} goes on without {bad}")
        except slurm.SlurmError as error:
            say(f"not without {bad}: {error}")
    _requeue(job)
    return Next((job,), f"job {job} was requeued")


def later_links(directory: Path, job: str) -> list[str]:
    """The jobs of this chain that wait for this one to end; none at its last link, and outside of chains."""
    task, last = os.environ.get("SLURM_ARRAY_TASK_ID"), os.environ.get("SLURM_ARRAY_TASK_MAX")
    if task and last:
        return [os.environ["SLURM_ARRAY_JOB_ID"]] if int(task) < int(last) else []
    launch = read_launch(directory)
    if launch is None or job not in launch.jobs:
        return []
    later = launch.jobs[launch.jobs.index(job) + 1 :]
    waiting = slurm.states(later) if later else {}
    return [link for link in later if not slurm.is_over(waiting.get(link, "GONE"))]


def wait_for_the_end(over: Callable[[], bool]) -> None:
    """SLURM ends a job that was requeued; leaving before it does could be taken for the job's own end.

    `over`: whether that came, with SIGTERM: who stays then costs the run KillWait seconds.
    """
    until = time.monotonic() + ENDING
    while time.monotonic() < until and not over():
        time.sleep(0.25)


def _leave_out(links: Sequence[str], excluded: str) -> None:
    for link in links:
        try:
            slurm.call("scontrol", "update", f"JobId={link}", f"ExcNodeList={excluded}")
        except slurm.SlurmError as error:  # it may get the node again, which the next attempt then names again
            say(f"job {link} not without {excluded}: {error}")


def _requeue(job: str) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            slurm.requeue(job)
            return
        except slurm.SlurmError as error:
            if time.monotonic() > until or not slurm.unreachable(str(error)):
                raise
            say(f"{error}; trying again")


def _new_job(directory: Path, excluded: str) -> str:
    """Queue the script again; `--exclude` on the command line stands instead of the script's own."""
    launch = read_launch(directory)
    known = [slurm.own_job(), *(launch.jobs if launch else [])]
    job = slurm.submit(str(directory / "job.sbatch"), [f"--exclude={excluded}"], known)
    if launch:
        write_launch(directory, replace(launch, jobs=[*launch.jobs, job]))
    return job


def main() -> int:
    """Run by the batch script, whose job this is."""
    try:
        again = start_again(Path(sys.argv[1]), Decision("restart", "the supervisor was killed"), new_bad_hosts=False)
    except slurm.SlurmError as error:
        say(f"the supervisor was killed, and the run is not started again: {error}")
        return 1
    say(f"the supervisor was killed: {again.words}")
    if again.jobs == (slurm.own_job(),):
        wait_for_the_end(lambda: False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
