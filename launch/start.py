"""`pretrain launch`: check, write the scripts, start."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from launch import commands, slurm
from launch.checks import GENERAL, Case, Result, run_checks, settled
from launch.fits import checks_of_memory
from launch.record import this_launch, write_launch
from launch.script import render, script_name
from launch.sites import checks_for
from pretrain.config.cluster import Cluster
from pretrain.config.errors import ConfigError
from pretrain.config.layout import layout_of
from pretrain.config.load import merge
from pretrain.config.run import Run
from pretrain.shards.files import write_atomically

SHOWN = 64
"""Ranks of the map that are listed one by one."""


@dataclass(frozen=True)
class Choice:
    """What the command line says beside the run."""

    on: str | None = None
    nodes: int | None = None
    gpus_per_node: int | None = None
    hostfile: str | None = None
    chain: int = 1
    """SLURM jobs, each after the one before."""
    array: int = 1
    """The same as one job array."""
    node: int | None = None
    """Number of this machine, where each runs the script."""


def choose(run: Run, choice: Choice) -> Run:
    """The run with the choices in its cluster section. Raises ConfigError for choices that do not go together."""
    given: dict[str, Any] = {"launcher": choice.on, "nodes": choice.nodes, "gpus_per_node": choice.gpus_per_node}
    if choice.hostfile:
        given["deepspeed"] = {"hostfile": choice.hostfile}
    given = {key: value for key, value in given.items() if value is not None}
    cluster = Cluster.parse(merge(run.cluster.plain(), given), "cluster")
    if max(choice.chain, choice.array) > 1 and cluster.launcher != "slurm":
        raise ConfigError.of("--chain", choice.chain, "is for --on slurm", "elsewhere the script starts the run again")
    if min(choice.chain, choice.array) > 1:
        raise ConfigError.of("--array", choice.array, "does not go with --chain", "give one of the two")
    if choice.node is not None and not commands.each_node_runs_it(cluster):
        rule = "is for launchers whose script runs on every node"
        raise ConfigError.of("--node", choice.node, rule, "leave it out")
    if choice.node is not None and not 0 <= choice.node < cluster.nodes:
        rule = f"must be from 0 to {cluster.nodes - 1}"
        raise ConfigError.of("--node", choice.node, rule, "give this machine's number")
    return run.model_copy(update={"cluster": cluster})


def check(run: Run, workdir: Path) -> list[Result]:
    """Every check with its result."""
    case = Case(run, workdir)
    return run_checks(case, [*GENERAL, *checks_of_memory(case), *checks_for(case)])


def write(run: Run, workdir: Path, array: int = 1) -> Path:
    """Write launch.yaml and the scripts into the run directory; returns the one to start."""
    directory = workdir / run.run_directory
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(run.plain(), sort_keys=False, allow_unicode=True)
    write_atomically(directory / "launch.yaml", text.encode())
    for name, script in render(run, workdir, array).items():
        write_atomically(directory / name, script.encode())
        (directory / name).chmod(0o755)
    return directory / script_name(run)


def rank_map(run: Run) -> list[str]:
    """Which process stands where: `node 0: local 0 rank 0 pipe 0 data 0 tensor 0`."""
    cluster = run.cluster
    run = settled(run, cluster.nodes)
    grid = layout_of(run.parallel, cluster.nodes * cluster.gpus_per_node)
    lines = []
    for rank in range(min(grid.processes, SHOWN)):
        node, local = divmod(rank, cluster.gpus_per_node)
        at = grid.coordinate(rank)
        lines.append(f"node {node}  local {local}  rank {rank}  pipe {at.pipe} data {at.data} tensor {at.tensor}")
    return lines + ([f"... {grid.processes - SHOWN} more"] if grid.processes > SHOWN else [])


def submit(run: Run, script: Path, chain: int) -> list[str]:
    """Queue the script; the ids of its jobs, each to start after the one before. Raises ConfigError with SLURM's words.

    Should a later one be refused, those before it are taken back.
    """
    jobs: list[str] = []
    for _ in range(chain):
        after = [f"--dependency=afterany:{jobs[-1]}", "--kill-on-invalid-dep=yes"] if jobs else []
        try:
            jobs.append(slurm.submit(str(script), after, known=jobs))
        except slurm.SlurmError as error:
            if jobs:
                with contextlib.suppress(slurm.SlurmError):
                    slurm.call("scancel", *jobs)
            fix = "correct what SLURM names, or the script"
            raise ConfigError.of("cluster.slurm", str(script), f"is refused: {error}", fix) from None
    write_launch(script.parent, this_launch("slurm", ["sbatch", str(script)], jobs))
    return jobs


def become(run: Run, script: Path, node: int | None) -> None:
    """Replace this process by the script. Does not return."""
    command = ["bash", str(script), *([str(node)] if node is not None else [])]
    write_launch(script.parent, this_launch(run.cluster.launcher, command, []))
    os.execvp(command[0], command)


def node_commands(run: Run, script: Path) -> list[str]:
    """What to type on each machine, where each runs the script."""
    return [f"bash {quote(str(script))} {node}" for node in range(run.cluster.nodes)]
