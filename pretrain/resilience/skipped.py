"""skipped.json in the run directory: the windows of the data order that rollbacks left out, each with its reason.

Written before anything else of a rollback happens: from then on a restart goes on from the earlier checkpoint and
without the window. The windows count as if they stood in data.skip; a person may read the file, and move it there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from pretrain.config.errors import ConfigError
from pretrain.shards.files import write_atomically

NAME = "skipped.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Skipped:
    """One window, and the rollback that left it out."""

    first_sample: int
    """Index in the order."""
    samples: int
    step: int
    """The step, counted from 1, at which something was wrong."""
    to_step: int
    """Steps done at the checkpoint that the run went back to. Later ones of before the rollback are void."""
    why: dict[str, Any]
    """Quantity, value, z-score, median and length of the window: Finding.plain."""
    message: str
    """For a person: with sources, shards and documents."""


def read_skipped(directory: Path) -> list[Skipped]:
    """The windows of a run directory, oldest rollback first. Raises ConfigError when the file is not one of ours."""
    try:
        content = (directory / NAME).read_bytes()
    except FileNotFoundError:
        return []
    return decode(content, directory)


def decode(content: bytes | str, directory: Path) -> list[Skipped]:
    """The windows in the content of the file of `directory`. Raises ConfigError when it is not one of ours."""
    try:
        plain = orjson.loads(content)
        if plain["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format {plain['format_version']}, this version reads {FORMAT_VERSION}")
        return [Skipped(**row) for row in plain["windows"]]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        rule = f"must be as pretrain wrote it ({error!r})"
        fix = "restore it: without it the data of the later steps would change"
        raise ConfigError.of("directory", str(directory / NAME), rule, fix) from None


def add_skipped(directory: Path, window: Skipped) -> None:
    """Append a window, durably: the old file or the new one is there, whatever happens."""
    rows = [asdict(row) for row in [*read_skipped(directory), window]]
    plain = {"format_version": FORMAT_VERSION, "windows": rows}
    write_atomically(directory / NAME, orjson.dumps(plain, option=orjson.OPT_INDENT_2) + b"\n")
