"""pretrain report RUN [RUN ...]"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run directories, or names in runs/.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the page goes. Default: report.html in the run directory, or here.")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="A directory for each figure as PNG and SVG.")] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="Have the checkpoints that are kept write texts first; takes its time.")
    ] = False,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Beginnings instead of the usual; with it texts are written.")
    ] = None,
) -> None:
    """Write one HTML page: losses, speed, time, mixture, events, configuration; several runs over each other."""
    from launch.status import run_directory
    from pretrain.monitoring.report import write

    directories = [run_directory(run) for run in runs]
    if samples or prompt:
        from pretrain.training.samples import write_samples

        for directory in directories:
            write_samples(directory, prompt, typer.echo)
    page, *pictures = write(directories, out, png)
    typer.echo(f"wrote {page}" + (f" and {len(pictures)} files in {png}" if pictures else ""))
