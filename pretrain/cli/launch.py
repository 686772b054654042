"""pretrain launch RUN.yaml [key=value ...] --on local|torchrun|deepspeed|slurm"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pretrain.cli.config import Overrides, RunFile

if TYPE_CHECKING:
    from pathlib import Path

    from launch.checks import Result
    from pretrain.config.run import Run

Launcher = Annotated[
    Literal["local", "torchrun", "deepspeed", "slurm"] | None,
    typer.Option("--on", help="What starts the processes. Default: cluster.launcher."),
]
Nodes = Annotated[int | None, typer.Option(min=1, help="Machines. Default: cluster.nodes.")]
Gpus = Annotated[int | None, typer.Option("--gpus-per-node", min=1, help="Processes on each machine.")]
Hostfile = Annotated[str | None, typer.Option(help="For DeepSpeed: lines such as `node1 slots=8`.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show script, ranks and checks; start and write nothing.")]
Chain = Annotated[int, typer.Option(min=1, help="SLURM jobs, each after the one before.")]
Array = Annotated[int, typer.Option(min=1, help="The same as a job array, one task at a time.")]
Node = Annotated[int | None, typer.Option(min=0, help="Number of this machine, where each runs the script.")]


def launch(
    run: RunFile,
    overrides: Overrides = None,
    on: Launcher = None,
    nodes: Nodes = None,
    gpus_per_node: Gpus = None,
    hostfile: Hostfile = None,
    dry_run: DryRun = False,
    chain: Chain = 1,
    array: Array = 1,
    node: Node = None,
) -> None:
    """Check a run, write the script that starts it into its directory, and start it.

    The script can be read, edited and run without this command. What would fail on the cluster is refused here.
    """
    from pathlib import Path

    from launch import start
    from launch.checks import refused
    from launch.commands import each_node_runs_it
    from pretrain.config.load import load_run

    choice = start.Choice(on, nodes, gpus_per_node, hostfile, chain, array, node)
    chosen, workdir = start.choose(load_run(run, overrides or []), choice), Path.cwd()
    results = start.check(chosen, workdir)
    if dry_run:
        _show(chosen, workdir, array)
    _table(results)
    if problems := refused(results):
        typer.echo("\nnothing was started:\n" + "\n".join(map(str, problems)), err=True)
        raise typer.Exit(2)
    if dry_run:
        return
    script = start.write(chosen, workdir, array)
    script = script.relative_to(workdir) if script.is_relative_to(workdir) else script
    if chosen.cluster.launcher == "slurm":
        jobs = start.submit(chosen, script, chain)
        typer.echo(f"queued as job {', '.join(jobs)}: {script}")
        typer.echo(f"pretrain status {script.parent}, pretrain logs {script.parent} --follow")
    elif each_node_runs_it(chosen.cluster) and node is None:
        typer.echo("run on each machine:\n  " + "\n  ".join(start.node_commands(chosen, script)))
    else:
        start.become(chosen, script, node)


def _show(run: Run, workdir: Path, array: int) -> None:
    """The scripts and the rank map, as far as the run allows them."""
    from launch.script import render
    from launch.start import rank_map
    from pretrain.config.errors import ConfigError

    try:
        for name, text in render(run, workdir, array).items():
            typer.echo(f"--- {run.run_directory}/{name}\n{text}")
        typer.echo("--- ranks")
        typer.echo("\n".join(rank_map(run)) + "\n")
    except ConfigError:
        typer.echo("(the checks say why there is no more)\n")  # a failing rule stands in the table below


def _table(results: list[Result]) -> None:
    width = max(len(result.name) for result in results)
    for result in results:
        typer.echo(f"{result.name:<{width}}  {result.state:<7}  {result.detail}")
