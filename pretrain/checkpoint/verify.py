"""`verify`: is a checkpoint still what was written, and is what was written a model?"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson
import torch
from torch import Tensor

from pretrain.checkpoint.files import FileRecord, damage
from pretrain.checkpoint.saved import Kind, Saved
from pretrain.checkpoint.state import read_state
from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run

THREADS = 8
"""Checksums release Python's lock; the disk is the limit."""

UNREADABLE = (OSError, EOFError, KeyError, RuntimeError, pickle.UnpicklingError)
"""What torch.load and taking a parameter out of a file raise when the file is not what it should be."""


class Finding(NamedTuple):
    """What was looked at, and what is wrong with it."""

    name: str
    problem: str | None


class Follow(Protocol):
    """Passes findings through and shows how many of `total` have come, with `note` of the last."""

    def __call__(
        self, what: str, items: Iterable[Finding], total: int, note: Callable[[Finding], str]
    ) -> Iterable[Finding]: ...


def _silently(what: str, items: Iterable[Finding], total: int, note: Callable[[Finding], str]) -> Iterable[Finding]:
    return items


def verify(checkpoint: Path, follow: Follow = _silently) -> list[str]:
    """A line for each thing that is wrong; an empty list when the checkpoint is whole.

    Size and SHA-256 of every file first. When these are right, every parameter and its moments, up to the first that is
    missing, has another size or holds a number that is not finite.
    """
    try:
        files = [record.path for record in read_records(checkpoint)]
        findings = follow(f"{checkpoint.name} files", _check_files(checkpoint, files), len(files), _name)
        if problems := [problem for _, problem in findings if problem]:
            return problems
        saved = open_saved(checkpoint)
        count = len(saved.names)
        findings = follow(f"{checkpoint.name} parameters", _check_parameters(saved), count, _name)
        return [problem for _, problem in findings if problem]
    except ConfigError as error:
        return [problem.rule for problem in error.problems]


def read_records(checkpoint: Path) -> list[FileRecord]:
    """The files of a checkpoint as they were written, by name. Raises ConfigError."""
    try:
        rows = orjson.loads((checkpoint / "files.json").read_bytes())
        return [FileRecord(name, int(row["bytes"]), str(row["sha256"])) for name, row in sorted(rows.items())]
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        rule = f"files.json cannot be read: {error}"
        raise ConfigError.of("checkpoint", str(checkpoint), rule, "use another one") from None


def wrong_size(checkpoint: Path, records: list[FileRecord]) -> str | None:
    """What `damage` sees without reading the files: the first that is missing or has another size."""
    for expected in records:
        path = checkpoint / expected.path
        if not path.is_file():
            return f"{expected.path} is missing"
        if (size := path.stat().st_size) != expected.bytes:
            return f"{expected.path} has {size:,} bytes instead of {expected.bytes:,}"
    return None


def open_saved(checkpoint: Path) -> Saved:
    """The tensors of a checkpoint. Raises ConfigError when its own files do not agree on the model."""
    model = load_run(checkpoint / "run.yaml").model
    found = model.fingerprint()
    if found != (written := read_state(checkpoint).model_fingerprint):
        rule = f"run.yaml has the model {found}, state.json says {written}"
        raise ConfigError.of("checkpoint", str(checkpoint), rule, "restore the run.yaml that it was written with")
    return Saved(checkpoint, model)


def read(saved: Saved, name: str, kind: Kind) -> Tensor:
    """One parameter's weight or moment, fp32. Raises ConfigError."""
    try:
        return saved.whole(name, kind)
    except UNREADABLE as error:
        reason = error.args[0] if isinstance(error, KeyError) else str(error).partition("\n")[0]
        fix = "`pretrain checkpoint verify` names the damaged file"
        raise ConfigError.of("parameter", name, f"the {kind} of {name} cannot be read: {reason}", fix) from None


def _check_files(checkpoint: Path, files: list[str]) -> Iterator[Finding]:
    with ThreadPoolExecutor(THREADS) as pool:
        problems = pool.map(lambda place: damage(checkpoint, place, len(files)), range(len(files)))  # a file each
        yield from map(Finding, files, problems)


def _check_parameters(saved: Saved) -> Iterator[Finding]:
    for name in saved.names:
        problem = next((found for kind in saved.kinds(name) if (found := _not_finite(saved, name, kind))), None)
        yield Finding(name, problem)
        if problem:
            return  # a model that diverged has it everywhere


def _not_finite(saved: Saved, name: str, kind: Kind) -> str | None:
    value = read(saved, name, kind)
    if (finite := value.isfinite()).all():
        return None
    place = torch.nonzero(~finite)[0].tolist()
    count = finite.numel() - int(finite.sum())
    return f"the {kind} of {name} is {value[tuple(place)].item()} at {place} ({count:,} of {value.numel():,} entries)"


def _name(finding: Finding) -> str:
    return finding.name
