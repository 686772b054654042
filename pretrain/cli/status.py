"""pretrain status [RUN]"""

from __future__ import annotations

from typing import Annotated

import typer

RunOrDirectory = Annotated[
    str, typer.Argument(metavar="RUN", help="A run directory, a name in runs/, or the RUN.yaml it was launched from.")
]
Optional = Annotated[str | None, typer.Argument(metavar="[RUN]", help="As above; none: all under runs/.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def status(run: Optional = None, as_json: Json = False) -> None:
    """Where runs stand: queue, step, loss, speed, time left, checkpoint, restarts with their reasons, slow ranks."""
    from dataclasses import asdict

    import orjson
    from rich.console import Console

    from launch.show import details, overview
    from launch.status import all_runs, read_status, run_directory

    found = [read_status(run_directory(run))] if run else [read_status(directory) for directory in all_runs()]
    if as_json:
        typer.echo(orjson.dumps([asdict(one) for one in found], default=str, option=orjson.OPT_INDENT_2).decode())
    elif run:
        Console().print(details(found[0]))
    elif found:
        Console().print(overview(found))
    else:
        typer.echo("no runs in runs/")
