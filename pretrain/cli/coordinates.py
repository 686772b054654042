"""pretrain coordinate-check RUN.yaml [key=value ...]"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pretrain.cli.config import Overrides, RunFile

Widths = Annotated[str, typer.Option(help="d_model of each, such as 64,128,256. Default: muP's base and its doubles.")]
Steps = Annotated[int, typer.Option(min=1, help="Optimizer steps at each width.")]
Out = Annotated[Path | None, typer.Option(help="A picture of it, .png or .svg.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def coordinate_check(
    run: RunFile,
    overrides: Overrides = None,
    widths: Widths = "",
    steps: Steps = 4,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Train some steps at several widths: with muP, activations move as far in all of them.

    One process, fp32, the run's own batches and its peak learning rate. Exit code 1 when they do not.
    """
    import json

    from pretrain.coordinates.check import ALONE, Coordinates, first_batches, look
    from pretrain.coordinates.figure import coordinate_figure
    from pretrain.coordinates.text import lines, numbers, width_line
    from pretrain.coordinates.widths import chosen_widths
    from pretrain.entry import checked
    from pretrain.page.picture import check_picture

    settled, manifest = checked(run, [*(overrides or []), *ALONE])
    chosen = chosen_widths(settled, numbers(widths))
    check_picture(out)
    found = Coordinates(settled, {})
    for width, sizes in look(settled, first_batches(settled, manifest, steps), chosen):
        found.sizes[width] = sizes
        typer.echo(width_line(width, sizes), err=as_json)
    typer.echo(json.dumps(found.plain(), indent=2) if as_json else "\n".join(lines(found)))
    if out is not None:
        coordinate_figure(found).savefig(out, dpi=150)
    if found.depending:
        raise typer.Exit(1)
