"""pretrain config check | show | schedule | schema | constraints"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pretrain.config.run import Run

app = typer.Typer(no_args_is_help=True)

RunFile = Annotated[str, typer.Argument(metavar="RUN.yaml", help="A path, or the name of a file in configs/runs/.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="For example train.tokens=2M.")]
Processes = Annotated[int, typer.Option(min=1, help="Processes the run will have.")]
NodeSize = Annotated[int | None, typer.Option(min=1, help="Processes of one node, for rules about its links.")]


@app.command()
def check(run: RunFile, overrides: Overrides = None, processes: Processes = 1, node_size: NodeSize = None) -> None:
    """Check a run: schema, constraints, layout, batch arithmetic. Starts nothing and reads no data."""
    from pretrain.config.summary import summary

    typer.echo(summary(_checked(run, overrides, processes, node_size), processes))


@app.command()
def show(
    run: RunFile,
    overrides: Overrides = None,
    processes: Processes = 1,
    node_size: NodeSize = None,
    deepspeed: bool = False,
) -> None:
    """Print the resolved configuration as YAML, or with --deepspeed the JSON derived for DeepSpeed."""
    import json

    import yaml

    from pretrain.config.deepspeed import deepspeed_config
    from pretrain.config.summary import layout_line

    resolved = _checked(run, overrides, processes, node_size)
    if deepspeed:
        typer.echo(json.dumps(deepspeed_config(resolved, processes), indent=2))
    else:
        typer.echo(f"# {layout_line(resolved.parallel, processes)}")
        typer.echo(yaml.safe_dump(resolved.plain(), sort_keys=False, allow_unicode=True), nl=False)


@app.command()
def schedule(
    run: RunFile,
    overrides: Overrides = None,
    processes: Processes = 1,
    rows: Annotated[int, typer.Option(min=2, help="About how many steps to print.")] = 25,
) -> None:
    """Print the learning rate and the batch over the tokens of a run."""
    from pretrain.training.schedule_table import schedule_rows, schedule_text

    resolved = _checked(run, overrides, processes, None)
    typer.echo(schedule_text(schedule_rows(resolved, rows), resolved.optimizer.learning_rate))


@app.command()
def constraints() -> None:
    """Print what a run and its processes must satisfy, as Markdown."""
    from pretrain.config.constraints_page import constraints_page

    typer.echo(constraints_page(), nl=False)


@app.command()
def schema(output: Annotated[str | None, typer.Option("--output", "-o", help="Write to a file.")] = None) -> None:
    """Print the JSON Schema of a run, for completion and checks in editors."""
    import json
    from pathlib import Path

    from pretrain.config.schema import run_schema

    text = json.dumps(run_schema(), indent=2)
    if output:
        Path(output).write_text(text + "\n", encoding="utf-8")
    else:
        typer.echo(text)


def _checked(path: str, overrides: list[str] | None, processes: int, node_size: int | None) -> Run:
    """The run with its layout settled and every rule applied."""
    from pretrain.config.constraints import check_run
    from pretrain.config.load import load_run
    from pretrain.planning.layouts.settle import settle

    run = settle(load_run(path, overrides or []), processes, node_size)
    check_run(run, processes, node_size)
    return run
