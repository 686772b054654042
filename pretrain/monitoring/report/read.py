"""What a run directory holds, read once. A file that is missing holds nothing; one that is broken is told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml

from pretrain.config.errors import ConfigError
from pretrain.monitoring.jsonl import read_rows
from pretrain.monitoring.report.table import Table
from pretrain.resilience.attempts import Attempt, read_attempts
from pretrain.resilience.locks import is_locked
from pretrain.resilience.skipped import Skipped, read_skipped

SAMPLES = "samples.jsonl"
"""Texts that were written from checkpoints: rows of step, tokens, prompt and text."""
SIGNS = ("run.yaml", "launch.yaml", "metrics.jsonl", "attempts.jsonl")
"""A directory with one of these is a run's."""
SHOWN_PROBLEMS = 5


@dataclass
class RunRecord:
    """One run, as its directory tells."""

    directory: Path
    label: str
    """What it is called on the page; no two runs have the same."""
    running: bool = False
    """Whether a process holds the directory now."""
    beat: dict[str, Any] = field(default_factory=dict)
    """heartbeat.json."""
    config: dict[str, Any] = field(default_factory=dict)
    environment: str = ""
    tables: defaultdict[str, Table] = field(default_factory=lambda: defaultdict(Table))
    """By kind of row: train, validation, checkpoint and what else metrics.jsonl has."""
    events: list[dict[str, Any]] = field(default_factory=list)
    baseline: dict[str, float] = field(default_factory=dict)
    """Nats per token of unigram and bigram."""
    attempts: list[Attempt] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    saved: dict[str, Any] = field(default_factory=dict)
    """state.json of the newest checkpoint."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What could not be read, for a person."""

    @property
    def train(self) -> Table:
        """A row for each step that was logged."""
        return self.tables["train"]

    @property
    def validation(self) -> Table:
        """A row for each validation."""
        return self.tables["validation"]

    @property
    def sources(self) -> list[str]:
        """Names of the sources, in the order of the corpus where that is known."""
        found = [*self.saved.get("plan", {}).get("sources", ()), *self.validation.below("loss")]
        return list(dict.fromkeys([*found, *self.train.below("loss")]))

    def setting(self, *path: str) -> Any:
        """A field of run.yaml; None where it is not known."""
        value: Any = self.config
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_runs(directories: list[Path]) -> list[RunRecord]:
    """All runs, with labels that differ. Raises ConfigError for a directory that is not a run's."""
    runs = [read_run(directory) for directory in dict.fromkeys(directories)]
    names = [run.label for run in runs]
    for run, name in zip(runs, names, strict=True):
        if names.count(name) > 1:
            run.label = str(run.directory)
    return runs


def read_run(directory: Path) -> RunRecord:
    """One run. Raises ConfigError when the directory is not a run's."""
    if not any((directory / name).is_file() for name in SIGNS):
        rule = f"must be a run directory, which holds one of {', '.join(SIGNS)}"
        raise ConfigError.of("run", str(directory), rule, "give a directory such as runs/NAME")
    run = RunRecord(directory, directory.resolve().name)
    run.running = is_locked(directory / "lock")
    run.beat, run.saved = _json(directory / "heartbeat.json"), _newest_state(directory / "checkpoints")
    run.config, run.environment = _config(run), _text(directory / "environment.txt")
    run.label = str(run.config.get("name", run.label))
    run.attempts = read_attempts(directory)
    _read_metrics(run)
    run.samples = list(_rows(run, SAMPLES, {"step", "prompt", "text"}))
    try:
        run.skipped = read_skipped(directory)
    except ConfigError as error:
        run.problems.append(f"skipped.json {error.problems[0].rule}")
    return run


def _read_metrics(run: RunRecord) -> None:
    for row in _rows(run, "metrics.jsonl", {"kind", "step", "tokens"}):
        if row["kind"] == "event":
            run.events.append(row)
        elif row["kind"] == "baseline":
            run.baseline = {name: row[name] for name in ("unigram", "bigram") if name in row}
        else:
            run.tables[row["kind"]].add(row)


def _rows(run: RunRecord, name: str, needed: set[str]) -> Iterator[dict[str, Any]]:
    """The rows that have what is needed; others are told, the first ones each."""
    broken: list[str] = []
    for row in read_rows(run.directory / name, lambda line, why: broken.append(f"line {line} ({why})")):
        if isinstance(row, dict) and needed <= row.keys():
            yield row
        else:
            broken.append(f"a row without {', '.join(sorted(needed))}: {str(row)[:60]}")
    if broken:
        more = f" and {len(broken) - SHOWN_PROBLEMS} more" if len(broken) > SHOWN_PROBLEMS else ""
        run.problems.append(f"{name}: {len(broken):,} left out, {'; '.join(broken[:SHOWN_PROBLEMS])}{more}")


def _config(run: RunRecord) -> dict[str, Any]:
    """run.yaml, or what was launched while the run has not started."""
    for name in ("run.yaml", "launch.yaml"):
        try:
            plain = yaml.safe_load(_text(run.directory / name))
        except yaml.YAMLError as error:
            run.problems.append(f"{name} is no YAML: {' '.join(str(error).split())}")
            continue
        if isinstance(plain, dict):
            return plain
    return {}


def _newest_state(checkpoints: Path) -> dict[str, Any]:
    found = sorted(checkpoints.glob("step-*[0-9]/state.json"), key=lambda path: (len(path.parent.name), path))
    return _json(found[-1]) if found else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        plain = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
