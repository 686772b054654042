"""pretrain logs RUN [--rank R] [--attempt N] [--follow]"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pretrain.cli.status import RunOrDirectory

if TYPE_CHECKING:
    from pathlib import Path

Rank = Annotated[int | None, typer.Option(min=0, help="Whose output. Default: the lowest rank, then the launcher.")]
Attempt = Annotated[int | None, typer.Option(min=1, help="Of which attempt. Default: the last.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written, also by later attempts.")]


def logs(run: RunOrDirectory, rank: Rank = None, attempt: Attempt = None, follow: Follow = False) -> None:
    """Print what a rank, or the launcher, wrote."""
    import shutil
    import sys
    import time

    from launch.logs import attempts_logged
    from launch.status import run_directory
    from pretrain.config.errors import ConfigError

    directory = run_directory(run)
    known = attempts_logged(directory)
    number = attempt or (known[-1] if known else 1)
    paths = _paths(directory, number, rank)
    if not paths and not follow:
        fix = f"attempts with logs: {', '.join(map(str, known)) or 'none yet'}"
        raise ConfigError.of("logs", str(directory), f"has none of attempt {number}, rank {rank or 0}", fix)
    places: dict[Path, int] = {}
    while True:
        for path in paths:
            with open(path, "rb") as file:
                file.seek(places.get(path, 0))
                shutil.copyfileobj(file, sys.stdout.buffer)
                places[path] = file.tell()
        sys.stdout.flush()
        if not follow or _is_over(directory, number):
            return
        time.sleep(0.5)
        newest = attempts_logged(directory)
        number = attempt or (newest[-1] if newest else number)
        paths = _paths(directory, number, rank)


def _paths(directory: Path, number: int, rank: int | None) -> list[Path]:
    """The log of the rank; without a rank that of the lowest one, and the launcher's."""
    from launch.logs import launcher_log, rank_logs, rank_of

    found = rank_logs(directory, number)
    if rank is not None:
        return [path for path in found if rank_of(path) == rank]
    return [path for path in (*found[:1], launcher_log(directory, number)) if path.exists()]


def _is_over(directory: Path, number: int) -> bool:
    """Whether nothing more will be written."""
    from launch.record import holder
    from pretrain.resilience.attempts import read_attempts

    attempts = read_attempts(directory)
    if not attempts or attempts[-1].number < number or holder(directory) is not None:
        return False
    return attempts[-1].outcome in ("finished", "stopped", "refused") or bool(attempts[-1].gave_up)
