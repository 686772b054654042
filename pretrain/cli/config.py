"""pretrain config check | show | schema"""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

RunFile = Annotated[str, typer.Argument(metavar="RUN.yaml", help="A path, or the name of a file in configs/runs/.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="For example train.tokens=2M.")]
Processes = Annotated[int, typer.Option(min=1, help="Processes the run will have.")]


@app.command()
def check(run: RunFile, overrides: Overrides = None, processes: Processes = 1) -> None:
    """Check a run: schema, constraints, batch arithmetic. Starts nothing and reads no data."""
    from pretrain.config.constraints import check_run
    from pretrain.config.load import load_run
    from pretrain.config.summary import summary

    loaded = load_run(run, overrides or [])
    check_run(loaded, processes)
    typer.echo(summary(loaded, processes))


@app.command()
def show(run: RunFile, overrides: Overrides = None, processes: Processes = 1, deepspeed: bool = False) -> None:
    """Print the resolved configuration as YAML, or with --deepspeed the JSON derived for DeepSpeed."""
    import json

    import yaml

    from pretrain.config.constraints import check_run
    from pretrain.config.deepspeed import deepspeed_config
    from pretrain.config.load import load_run

    loaded = load_run(run, overrides or [])
    check_run(loaded, processes)
    if deepspeed:
        typer.echo(json.dumps(deepspeed_config(loaded, processes), indent=2))
    else:
        typer.echo(yaml.safe_dump(loaded.plain(), sort_keys=False, allow_unicode=True), nl=False)


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
