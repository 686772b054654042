"""Checkpoint directories: written beside, checksummed, renamed; whole or invisible.

checkpoints/
    step-00000100/          a whole checkpoint
        state.json          where the run stood
        files.json          every other file with its size and SHA-256
        run.yaml  tokenizer/  rng-00000.pt  engine/ (DeepSpeed's files)
    step-00000200.tmp/      being written, or left by a crash
    step-00000150.damaged/  found altered or cut short and set aside, for a person to look at
    step-00000180.rolledback/  left behind by a rollback, until the next one
    latest                  name of the newest, moved last
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson

from pretrain.shards.files import sha256, sync_directory

_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class FileRecord:
    """A file of a checkpoint, relative to it."""

    path: str
    bytes: int
    sha256: str


def name_of(step: int) -> str:
    """Directory name of the checkpoint after `step` steps."""
    return f"step-{step:08d}"


def step_of(checkpoint: Path) -> int:
    """Steps that a checkpoint directory's name tells."""
    match = _NAME.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint} is not named like a checkpoint")
    return int(match[1])


def list_checkpoints(directory: Path) -> list[Path]:
    """Committed checkpoints in `directory`, newest first. They may still be damaged: see `damage`."""
    found = [
        path for path in directory.glob("step-*") if _NAME.fullmatch(path.name) and (path / "files.json").is_file()
    ]
    return sorted(found, key=step_of, reverse=True)


def record(path: Path, root: Path) -> FileRecord:
    """Size and SHA-256 of a file, after making sure it is on disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return FileRecord(str(path.relative_to(root)), path.stat().st_size, sha256(path))


def commit(temporary: Path, records: Iterable[FileRecord]) -> Path:
    """Make a fully written `step-N.tmp` visible as `step-N` and move `latest`. Returns its path."""
    final = temporary.with_suffix("")
    rows = {entry.path: {"bytes": entry.bytes, "sha256": entry.sha256} for entry in records}
    write_durably(temporary / "files.json", orjson.dumps(rows, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    for folder in [path for path in temporary.rglob("*") if path.is_dir()] + [temporary]:
        sync_directory(folder)
    os.replace(temporary, final)
    sync_directory(final.parent)
    point_latest(final.parent)
    return final


def point_latest(directory: Path) -> None:
    """Have `latest` name the newest checkpoint."""
    if newest := list_checkpoints(directory):
        write_durably(directory / "latest.tmp", newest[0].name.encode())
        os.replace(directory / "latest.tmp", directory / "latest")
    sync_directory(directory)


def damage(checkpoint: Path, part: int = 0, parts: int = 1) -> str | None:
    """What is wrong with a committed checkpoint, or None when every file is as it was written.

    With `parts` ranks each checks every parts-th file.
    """
    try:
        rows = orjson.loads((checkpoint / "files.json").read_bytes())
        files = [(name, row["bytes"], row["sha256"]) for name, row in sorted(rows.items())]
    except (OSError, orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        return f"files.json cannot be read: {error}"
    for name, bytes_, digest in files[part::parts]:
        path = checkpoint / name
        try:
            if (size := path.stat().st_size) != bytes_:
                return f"{name} has {size:,} bytes instead of {bytes_:,}"
            if sha256(path) != digest:
                return f"{name} was altered: its SHA-256 is not the one it was written with"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def set_aside(checkpoint: Path, suffix: str = ".damaged") -> None:
    """Take a checkpoint out of the list: it is neither loaded nor counted, and its files stay to be seen."""
    aside = checkpoint.with_suffix(suffix)
    shutil.rmtree(aside, ignore_errors=True)
    checkpoint.rename(aside)


def clean(directory: Path) -> None:
    """Remove what an interrupted save left behind."""
    for path in directory.glob("step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def write_durably(path: Path, content: bytes) -> None:
    """Write a small file and wait until it is on disk."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
