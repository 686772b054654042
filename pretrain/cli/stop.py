"""pretrain stop RUN | pretrain cancel RUN"""

from __future__ import annotations

from typing import Annotated

import typer

from pretrain.cli.status import RunOrDirectory

NoWait = Annotated[bool, typer.Option("--no-wait", help="Only ask; the run ends after its step.")]


def stop(run: RunOrDirectory, no_wait: NoWait = False) -> None:
    """Have a run save a checkpoint after its step, and end."""
    from launch.status import run_directory
    from launch.stop import ask_to_end, wait_for_end

    directory = run_directory(run)
    number = ask_to_end(directory)
    typer.echo(f"{directory} was asked to save and end")
    if no_wait:
        return
    attempt = wait_for_end(directory, number, typer.echo)
    typer.echo(f"attempt {attempt.number} {attempt.outcome} at step {attempt.last_step}: {attempt.reason}")
    if attempt.outcome not in ("stopped", "finished", "saved"):
        raise typer.Exit(1)


def cancel(run: RunOrDirectory) -> None:
    """End a run now, and take its jobs out of the queue. What was trained since the last checkpoint is lost."""
    from launch.status import run_directory
    from launch.stop import cancel as cancel_run

    for line in cancel_run(run_directory(run)):
        typer.echo(line)
