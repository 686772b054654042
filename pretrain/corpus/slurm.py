"""The phases as SLURM jobs that follow one another: datatrove's executor submits them, we give it the steps.

In the corpus directory stands `slurm/<phase>/`: the sbatch script, to read and run by hand, and what every job said.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import orjson

from launch.slurm import SlurmError, call
from pretrain.config.corpus import Corpus
from pretrain.config.errors import ConfigError
from pretrain.config.executor import Executor
from pretrain.corpus.phases import Phase, phases
from pretrain.corpus.preparation import Preparation
from pretrain.corpus.progress import Reporter
from pretrain.corpus.workspace import Workspace
from pretrain.shards.files import write_atomically

GB = 1_000_000_000


def submit(preparation: Preparation, reporter: Reporter) -> None:
    """Submit a job array for each phase, each waiting for the one before. Raises ConfigError when sbatch refuses.

    After one failed all are submitted anew, and tasks that are done do nothing.
    """
    workspace = preparation.workspace
    workspace.open()
    preparation.save()
    for name, job in _submit(preparation).items():
        reporter.say(f"submitted {name} as job {job}, log in {workspace.directory}/slurm/{name}/slurm_logs")
    reporter.say("the same command tells how they stand, and goes on if one has failed")


def under_way(recipe: Corpus, workspace: Workspace, reporter: Reporter) -> bool:
    """Whether jobs of an earlier call are at work, of which it tells how they stand.

    They hold no lock, so this raises ConfigError when another recipe, or processes here, would get between them.
    """
    jobs: dict[str, str] = orjson.loads(workspace.jobs.read_bytes())
    alive = _alive(workspace, jobs)
    if alive and (recipe.executor.kind != "slurm" or not workspace.is_open()):
        fix = f"wait for them, or end them first: scancel {' '.join(jobs.values())}"
        raise ConfigError.of("directory", str(workspace.directory), "is being prepared by jobs of SLURM", fix)
    for line in alive:
        reporter.say(line)
    return bool(alive)


def do_rank(data: Any, rank: int, world_size: int, directory: str, name: str) -> None:
    """What a job does: the tasks rank, rank + world_size, ... of a phase. A step of a datatrove pipeline."""
    preparation = Preparation.load(Path(directory))
    phase = next(phase for phase in phases(preparation) if phase.name == name)
    for task in phase.tasks(preparation)[rank::world_size]:
        print(f"{name}: {phase.run(task)}", flush=True)


def _submit(preparation: Preparation) -> dict[str, str]:
    """Phase -> job."""
    jobs: dict[str, str] = {}
    before: Any = None
    try:
        for phase in phases(preparation):
            before = _executor(preparation, phase, before)
            before.run()
            jobs[phase.name] = str(before.job_id)
            write_atomically(preparation.workspace.jobs, orjson.dumps(jobs))
    except (OSError, subprocess.CalledProcessError) as error:
        rule = f"sbatch did not take the job ({error})"
        fix = "sinfo lists the partitions"
        raise ConfigError.of("executor", preparation.recipe.executor.partition, rule, fix) from None
    return jobs


def _executor(preparation: Preparation, phase: Phase, before: Any) -> Any:
    from datatrove.executor import SlurmPipelineExecutor

    config, directory = preparation.recipe.executor, preparation.workspace.directory.resolve()
    return SlurmPipelineExecutor(
        [partial(do_rank, directory=str(directory), name=phase.name)],
        tasks=1 if phase.alone else config.tasks,
        workers=config.workers,
        time=_time(config.time),
        partition=str(config.partition),
        cpus_per_task=config.cpus,
        mem_per_cpu_gb=max(1, -(-config.memory // (GB * config.cpus))),
        job_name=f"{preparation.recipe.name}-{phase.name}",
        qos=config.qos or "",
        env_command=f"export PATH={quote(str(Path(sys.executable).parent))}:$PATH; cd {quote(str(Path.cwd()))}",
        sbatch_args=_options(config),
        depends=before,
        logging_dir=str(directory / "slurm" / phase.name),
        skip_completed=False,  # ours know by unit and shard what is done, whatever the number of tasks
    )


def _options(config: Executor) -> dict[str, str]:
    account = {"account": config.account} if config.account else {}
    # else the jobs behind one that failed would wait for ever, and look as if they were at work
    return {"kill-on-invalid-dep": "yes", **account, **config.options}


def _time(seconds: float) -> str:
    minutes = max(1, -(-int(seconds) // 60))
    return f"{minutes // 60:02}:{minutes % 60:02}:00"


def _alive(workspace: Workspace, jobs: dict[str, str]) -> list[str]:
    """How the jobs of an earlier call stand, as squeue tells it; nothing when they are gone."""
    try:
        told = call("squeue", "--noheader", "--array", "--format=%F %T", "--jobs", ",".join(jobs.values()))
    except SlurmError as error:
        if "Invalid job id" in str(error):
            return []
        rule = f"was given to jobs of SLURM, which does not tell how they stand ({error})"
        fix = f"try again; or, if you know that they are gone, remove {workspace.jobs}"
        raise ConfigError.of("directory", str(workspace.directory), rule, fix) from None
    states = [line.split() for line in told.splitlines()]
    return [
        f"{name} (job {job}): {len(own)} tasks left, {own.count('RUNNING')} running"
        for name, job in jobs.items()
        if (own := [state for number, state in states if number == job])
    ]
