"""A directory that is whole or not there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pretrain.config.errors import ConfigError
from pretrain.shards.files import FULL, sync_directory


def check_target(target: Path, option: str = "--to") -> None:
    """Raises ConfigError unless `target` is empty or not there."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        rule = "must be a new or an empty directory: nothing is overwritten"
        raise ConfigError.of(option, str(target), rule, "give another one, or remove it")


def check_room(target: Path, needed: int) -> None:
    """Raises ConfigError unless the disk of `target` has so many bytes free."""
    there = next(path for path in target.absolute().parents if path.exists())
    if (free := shutil.disk_usage(there).free) < needed:
        rule = f"needs {needed:,} bytes, {there} has {free:,} free"
        raise ConfigError.of("--to", str(target), rule, "free some, or give a directory on another disk")


@contextlib.contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """A directory to write into, which becomes `target` when the block ends without an error, and else is removed.

    What a killed call left is removed first. Raises ConfigError when `target` is in use, cannot be written or the disk
    gets full.
    """
    check_target(target)
    final = target.absolute()
    beside = final.with_name(f".{final.name}.partial")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
        _sync(beside)
        os.replace(beside, final)
        sync_directory(final.parent)
    except OSError as error:
        rule = FULL.get(error.errno or 0, error.strerror or str(error))
        raise ConfigError.of("--to", str(target), f"cannot be written: {rule}", "give another directory") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _sync(directory: Path) -> None:
    """Wait until every file is on the disk."""
    for path in directory.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_directory(directory)
