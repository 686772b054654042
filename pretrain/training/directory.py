"""The run directory: one run at a time lives in it, and all that it leaves behind."""

from __future__ import annotations

import fcntl
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from pretrain.config.errors import ConfigError, RunError
from pretrain.config.run import Run
from pretrain.shards.files import FULL, write_atomically


class RunDirectory:
    """Paths in runs/<name>/ and the id that the run keeps for life."""

    def __init__(self, run: Run) -> None:
        self.path = Path(run.run_directory)
        self.checkpoints = self.path / "checkpoints"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process. The lock goes with the process, however it ends.

        Raises ConfigError when another process holds it or it cannot be made, RunError when the disk is full.
        """
        if wild := set("[]*?") & set(str(self.path.absolute())):
            rule = f"must not contain {' '.join(sorted(wild))}: DeepSpeed takes its path for a pattern"
            raise ConfigError.of("directory", str(self.path), rule, "set `directory:` to another path")
        with self._lock_file() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if not isinstance(error, BlockingIOError):
                    rule = f"must be on a file system that can lock files ({error.strerror})"
                    raise ConfigError.of(
                        "directory", str(self.path), rule, "on Lustre mount it with -o flock"
                    ) from None
                fix = "wait for it or stop it, or give this run another name"
                raise ConfigError.of("directory", str(self.path), "is in use by a running train", fix) from None
            yield

    def run_id(self) -> str:
        """The id of the run, drawn once. Also W&B's. Raises RunError when the disk is full."""
        path = self.path / "run_id"
        if not path.exists():
            try:
                write_atomically(path, uuid.uuid4().hex[:12].encode())
            except ConfigError as full:  # it raises no other
                raise _full(self.path, full.problems[0].rule) from None
        return path.read_text()

    def describe(self, run: Run, deepspeed: dict[str, Any], environment: str) -> list[str]:
        """Write run.yaml, deepspeed.json and environment.txt; returns what changed in run.yaml since the last start."""
        changes = differences(self._stored(), run.plain())
        write_atomically(self.path / "run.yaml", to_yaml(run).encode())
        write_atomically(self.path / "deepspeed.json", (json.dumps(deepspeed, indent=2) + "\n").encode())
        write_atomically(self.path / "environment.txt", environment.encode())
        return changes

    def _lock_file(self) -> IO[str]:
        """Open, in a directory that is made where there is none."""
        try:
            for folder in (self.path, self.checkpoints, self.path / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
            return (self.path / "lock").open("a")
        except OSError as error:
            if error.errno in FULL:
                raise _full(self.path, FULL[error.errno]) from None
            rule = f"must be a writable directory ({error.strerror})"
            raise ConfigError.of("directory", str(self.path), rule, "set `directory:` or `name:`") from None

    def _stored(self) -> dict[str, Any]:
        path = self.path / "run.yaml"
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {} if path.exists() else {}


def _full(directory: Path, why: str) -> RunError:
    """No bad input: it passes, and the run is started again."""
    return RunError(f"the run directory {directory} cannot be written: {why}")


def to_yaml(run: Run) -> str:
    """The resolved run as YAML that `pretrain train` reads."""
    return yaml.safe_dump(run.plain(), sort_keys=False, allow_unicode=True)


def differences(before: dict[str, Any], after: dict[str, Any], where: str = "") -> list[str]:
    """Lines such as `optimizer.learning_rate: 0.001 -> 0.0003`; none when nothing was stored."""
    lines = []
    for key in before:
        old, new, name = before[key], after.get(key), f"{where}{key}"
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, name + ".")
        elif old != new:
            lines.append(f"{name}: {old} -> {new}")
    return lines
