"""`pretrain checkpoint show | verify | diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pretrain.checkpoint.diff import Side
    from pretrain.checkpoint.show import Contents, Row

app = typer.Typer(no_args_is_help=True)

Checkpoints = Annotated[Path, typer.Argument(help="A checkpoint (runs/x/checkpoints/step-...) or a run directory.")]
Newest = Annotated[Path, typer.Argument(help="A checkpoint, or a run directory: its newest one.")]


@app.command()
def show(
    path: Checkpoints,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="Read and describe all weights and moments.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Where a checkpoint stands and what it holds; of a run directory all of them, then the newest whole one."""
    from pretrain.checkpoint.show import (
        checkpoints_at,
        contents_text,
        read_contents,
        read_row,
        read_statistics,
        rows_text,
        statistics_text,
    )
    from pretrain.checkpoint.verify import open_saved

    checkpoints = checkpoints_at(path)
    rows = [read_row(checkpoint) for checkpoint in checkpoints]
    whole = (checkpoint for checkpoint, row in zip(checkpoints, rows, strict=True) if not row.damage)
    newest, table = next(whole, checkpoints[0]), rows if checkpoints != [path] else []
    if as_json:
        _print_json(read_contents(newest), table, parameters)
        return
    if table:
        typer.echo(f"{rows_text(table)}\n")
    typer.echo(contents_text(read_contents(newest)))
    if parameters:
        typer.echo(f"\n{statistics_text(read_statistics(open_saved(newest)))}")


@app.command()
def verify(path: Checkpoints) -> None:
    """Check every file's size and checksum, then that every parameter is there and finite; exits with 1 if not."""
    from pretrain.checkpoint.show import checkpoints_at
    from pretrain.checkpoint.verify import verify as verify_checkpoint
    from pretrain.corpus.progress import Reporter

    damaged = 0
    for checkpoint in checkpoints_at(path):
        problems = verify_checkpoint(checkpoint, Reporter().follow)
        damaged += bool(problems)
        for line in problems or ["every file is as it was written, every parameter is there and finite"]:
            typer.echo(f"{checkpoint}: {line}")
    if damaged:
        raise typer.Exit(1)


@app.command()
def diff(
    a: Newest,
    b: Newest,
    tolerance: Annotated[
        float,
        typer.Option(min=0.0, help="Largest difference of a weight, and of a moment in parts of its largest entry."),
    ] = 0.0,
) -> None:
    """What differs between two checkpoints of any layouts; exits with 1 if a parameter does by more than --tolerance.

    Checkpoints of different models differ, whatever the tolerance.
    """
    from pretrain.checkpoint.diff import fields_text, open_side
    from pretrain.checkpoint.weights import find_checkpoint

    left, right = open_side(find_checkpoint(a)), open_side(find_checkpoint(b))
    typer.echo(f"{fields_text(left, right)}\n")
    within = left.saved.shapes == right.saved.shapes and _compare(left, right, tolerance)
    if left.state.model_fingerprint != right.state.model_fingerprint:
        typer.echo("these are different models")
        within = False
    if not within:
        raise typer.Exit(1)


def _print_json(contents: Contents, table: list[Row], parameters: bool) -> None:
    """One checkpoint; or of a run directory {"checkpoints": [...], "newest": {...}}."""
    import orjson

    from pretrain.checkpoint.show import read_statistics
    from pretrain.checkpoint.verify import open_saved

    plain = contents.plain()
    if parameters:
        values: dict[str, dict[str, dict[str, float]]] = {name: {} for name in contents.shapes}
        for name, kind, numbers in read_statistics(open_saved(contents.checkpoint)):
            values[name][kind] = numbers._asdict()
        plain["values"] = values
    if table:
        plain = {"checkpoints": [row.plain() for row in table], "newest": plain}
    typer.echo(orjson.dumps(plain, option=orjson.OPT_INDENT_2).decode())


def _compare(a: Side, b: Side, tolerance: float) -> bool:
    """Print how the parameters differ; whether all are within the tolerance."""
    from pretrain.checkpoint.diff import parameter_differences, parameters_text, summary
    from pretrain.corpus.progress import Reporter

    count = len(a.saved.names)
    differences = list(Reporter().follow("parameters", parameter_differences(a, b), count, lambda one: one.name))
    if text := parameters_text(differences):
        typer.echo(f"{text}\n")
    typer.echo(summary(differences, tolerance))
    return all(one.largest <= tolerance for one in differences)
