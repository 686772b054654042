"""pretrain verify RUN.yaml [key=value ...]"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pretrain.cli.config import Overrides, RunFile

Layouts = Annotated[
    list[str] | None,
    typer.Option("--layout", metavar="LAYOUT", help="Such as tensor=2,pipe=2 or data2-zero3; may stand several times."),
]
Processes = Annotated[int, typer.Option(min=1, help="The most that one layout may have.")]
Steps = Annotated[int, typer.Option(min=1, help="Optimizer steps that are compared.")]
Every = Annotated[bool, typer.Option("--all", help="All neighbouring layouts, not three of them.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def verify(
    run: RunFile,
    overrides: Overrides = None,
    layout: Layouts = None,
    processes: Processes = 8,
    steps: Steps = 20,
    every: Every = False,
    as_json: Json = False,
) -> None:
    """Train a scaled-down run in its layout and in neighbouring ones, and compare each with one process.

    Needs no corpus, GPU, network or compiler. Exit code 1 when a layout differs.
    """
    import json

    from rich.console import Console

    from pretrain.config.errors import RunError
    from pretrain.config.load import load_run
    from pretrain.verification.report import plain, show
    from pretrain.verification.verify import make_plan, run_plan

    plan = make_plan(load_run(run, overrides or []), layout or [], processes, steps, every)
    try:
        outcomes = list(run_plan(plan)) if as_json else show(plan, run_plan(plan), Console())
    except RunError as error:
        print(f"pretrain: one process alone failed: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(plain(plan, outcomes), indent=2))
    if not all(outcome.passed for outcome in outcomes):
        raise typer.Exit(1)
