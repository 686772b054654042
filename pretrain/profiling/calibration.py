"""`pretrain plan --calibrate RUN_DIR ...`: measured runs read, a cluster file written."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pretrain.config.errors import ConfigError
from pretrain.config.hardware import Hardware
from pretrain.config.load import load_run
from pretrain.config.run import Run
from pretrain.monitoring.jsonl import read_rows
from pretrain.planning.calibrate import Measured, calibrate
from pretrain.planning.trained import trained_job
from pretrain.resilience.attempts import Attempt, read_attempts
from pretrain.shards.files import write_where_asked

WARM_UP = 5
"""Steps of an attempt that are left out: caches fill, kernels are chosen."""
FEWEST = 5
"""Steps that a run must have beyond them."""


def calibrate_command(run_dirs: Sequence[str | Path], out: Path | None = None) -> str:
    """A cluster file fitted to the runs as YAML text, which is also written to `out`. Raises ConfigError."""
    runs = [read_measured(Path(directory)) for directory in run_dirs]
    before = runs[0].job.hardware
    for run in runs:
        if run.job.hardware.gpu != before.gpu:
            rule = f"must be on the hardware of the first run, {before.gpu}, not {run.job.hardware.gpu}"
            raise ConfigError.of("--calibrate", run.name, rule, "calibrate each hardware on its own")
    text = cluster_yaml(runs, before, calibrate(runs, before))
    if out is not None:
        write_where_asked(out, text.encode())
    return text


def read_measured(directory: Path) -> Measured:
    """The last attempt of a run: the median step of its commonest batch. Raises ConfigError."""
    run, attempt = _run_of(directory), _attempt_of(directory)
    assert run.cluster.hardware is not None
    first = (attempt.first_step or 0) + WARM_UP
    samples, seconds = _median_step(directory, run, first)
    node_size = attempt.processes // max(1, len(attempt.hosts))
    job = trained_job(run, run.cluster.hardware, attempt.processes, node_size, samples)
    return Measured(str(directory), job, seconds)


def _run_of(directory: Path) -> Run:
    path = directory / "run.yaml"
    if not path.is_file():
        raise _wrong(directory, "must be a run directory, which holds run.yaml", "give a directory such as runs/NAME")
    run = load_run(path)
    if run.cluster.hardware is None:
        fix = "train with `cluster: {hardware: NAME}`, or write it into that run.yaml"
        raise _wrong(directory, "must say in run.yaml on which hardware it was (cluster.hardware)", fix)
    return run


def _attempt_of(directory: Path) -> Attempt:
    """The last that trained."""
    found = [attempt for attempt in read_attempts(directory) if attempt.processes]
    if not found:
        raise _wrong(directory, "must hold attempts.jsonl, which says how many processes trained", "train it first")
    return found[-1]


def _median_step(directory: Path, run: Run, first: int) -> tuple[int, float]:
    """Samples of the commonest batch after step `first`, and its seconds without the wait for data. A median: spikes
    and steps with a checkpoint do not count."""
    rows = [row for row in read_rows(directory / "metrics.jsonl", lambda *_: None) if _counts(row, first)]
    if len(rows) < FEWEST:
        rule = f"must have {FEWEST} measured steps after the first {WARM_UP} of its last attempt, not {len(rows)}"
        raise _wrong(directory, rule, "train it for longer")
    tokens = Counter(row["batch_tokens"] for row in rows).most_common(1)[0][0]
    spent = [row["step_seconds"] - row["data_seconds"] for row in rows if row["batch_tokens"] == tokens]
    if (seconds := statistics.median(spent)) <= 0:
        raise _wrong(directory, "must have steps that take time", "look into its metrics.jsonl")
    return max(1, round(tokens / run.sequence_length)), seconds


def _counts(row: Any, first: int) -> bool:
    needed = ("step", "batch_tokens", "step_seconds", "data_seconds")
    if not isinstance(row, dict) or row.get("kind") != "train":
        return False
    return all(isinstance(row.get(name), int | float) for name in needed) and row["step"] > first


def _wrong(directory: Path, rule: str, fix: str) -> ConfigError:
    return ConfigError.of("--calibrate", str(directory), rule, fix)


def cluster_yaml(runs: Sequence[Measured], before: Hardware, after: Hardware) -> str:
    """A file for configs/clusters/: what it was fitted to in comments, then the fields."""
    lines = [
        "# Efficiencies fitted by `pretrain plan --calibrate` so that planned step times are the measured ones.",
        "#",
    ]
    lines.append(f"# {'measured':>10}  {'planned before':>20}  {'planned after':>20}  run")
    for run in runs:
        told = [_told(run, hardware) for hardware in (before, after)]
        lines.append(f"# {f'{run.seconds:.3g} s':>10}  {told[0]:>20}  {told[1]:>20}  {run.name}")
    lines += ["#", *_changes(before, after)]
    fields = {"gpus_per_node": runs[0].job.node_size, "hardware": _plain(after)}
    return "\n".join(lines) + "\n" + yaml.safe_dump(fields, sort_keys=False, default_flow_style=None, width=110)


def _told(run: Measured, hardware: Hardware) -> str:
    error = run.error(hardware)
    return f"{run.seconds * (1 + error):.3g} s ({round(error, 3) + 0.0:+.1%})"


def _changes(before: Hardware, after: Hardware) -> list[str]:
    lines = []
    for (name, old), (_, new) in zip(before.efficiency, after.efficiency, strict=True):
        if abs(new / old - 1) > 1e-3:
            most = ", the most there can be: a peak above may be too low" if new == 1 else ""
            lines.append(f"# efficiency.{name}: {old:.3g} -> {new:.3g}{most}")
    return lines or ["# Nothing had to be changed."]


def _plain(hardware: Hardware) -> dict[str, Any]:
    plain = hardware.plain()
    plain["efficiency"] = {name: float(f"{value:.4g}") for name, value in plain["efficiency"].items()}
    return plain
