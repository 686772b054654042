"""The phases as SLURM jobs that follow one another: datatrove's executor submits them, we give it the steps.

In the corpus directory stands `slurm/<phase>/`: the sbatch script, to read and run by hand, and what every job said.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from pretrain.config.errors import ConfigError
from pretrain.config.executor import Executor
from pretrain.corpus.phases import Phase, phases
from pretrain.corpus.preparation import Preparation
from pretrain.corpus.progress import Reporter
from pretrain.shards.files import write_atomically

GB = 1_000_000_000


def submit(preparation: Preparation, reporter: Reporter) -> None:
    """Submit a job array for each phase, each waiting for the one before. Raises ConfigError when sbatch refuses.

    Called again while the jobs are there it tells how they stand; after one failed it submits all anew, and tasks that
    are done do nothing.
    """
    workspace = preparation.workspace
    if alive := _alive(workspace.work / "jobs.json"):
        for line in alive:
            reporter.say(line)
        return
    workspace.open()
    preparation.save()
    jobs = _submit(preparation)
    write_atomically(workspace.work / "jobs.json", orjson.dumps(jobs))
    for name, job in jobs.items():
        reporter.say(f"submitted {name} as job {job}, log in {workspace.directory}/slurm/{name}/slurm_logs")
    reporter.say("the same command tells how they stand, and goes on if one has failed")


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
        env_command=f"export PATH={Path(sys.executable).parent}:$PATH; cd {Path.cwd()}",
        sbatch_args=_options(config),
        depends=before,
        logging_dir=str(directory / "slurm" / phase.name),
        skip_completed=False,  # ours know by unit and shard what is done, whatever the number of tasks
    )


def _options(config: Executor) -> dict[str, str]:
    account = {"account": config.account} if config.account else {}
    return {**account, **config.options}


def _time(seconds: float) -> str:
    minutes = max(1, -(-int(seconds) // 60))
    return f"{minutes // 60:02}:{minutes % 60:02}:00"


def _alive(record: Path) -> list[str]:
    """How the jobs of an earlier call stand, as squeue tells it; nothing when they are gone."""
    if not record.is_file():
        return []
    jobs: dict[str, str] = orjson.loads(record.read_bytes())
    command = ["squeue", "--noheader", "--array", "--format=%F %T", "--jobs", ",".join(jobs.values())]
    told = subprocess.run(command, capture_output=True, text=True)
    states = [line.split() for line in told.stdout.splitlines()]
    return [
        f"{name} (job {job}): {len(own)} tasks left, {own.count('RUNNING')} running"
        for name, job in jobs.items()
        if (own := [state for number, state in states if number == job])
    ]
