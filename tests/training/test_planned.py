"""Planned against measured: one row in a run that says on which hardware it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pretrain.monitoring.jsonl import read_rows
from tests.example import small_run
from tests.planning.jobs import a100
from tests.processes import train_processes

CPU = {"hardware": a100().plain(), "gpus": False}
"""Any figures will do."""
PLANNED = {"step_seconds", "measured_step_seconds", "tokens_per_second", "measured_tokens_per_second"}


@pytest.fixture(scope="module")
def directory(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """22 steps in two processes."""
    directory = tmp_path_factory.mktemp("planned") / "run"
    run = small_run(corpus, directory, cluster=CPU, train={"tokens": 22 * 4 * 16}, model={"dropout": 0.0})
    train_processes(run, 2)
    return directory


def rows(directory: Path) -> list[dict[str, Any]]:
    return [row for row in read_rows(directory / "metrics.jsonl") if row["kind"] == "planned"]


def test_one_row_after_step_20(directory: Path) -> None:
    (row,) = rows(directory)
    assert (row["step"], row["tokens"]) == (20, 20 * 64) and row.keys() - {"kind", "step", "tokens"} == PLANNED
    assert row["tokens_per_second"] == pytest.approx(64 / row["step_seconds"])
    assert row["measured_tokens_per_second"] == pytest.approx(64 / row["measured_step_seconds"])


def test_measured_is_the_median_of_the_later_steps(directory: Path) -> None:
    train = [row for row in read_rows(directory / "metrics.jsonl") if row["kind"] == "train"]
    later = sorted(row["step_seconds"] for row in train[10:20])
    assert rows(directory)[0]["measured_step_seconds"] == pytest.approx((later[4] + later[5]) / 2)


def test_it_is_told_in_the_log(directory: Path) -> None:
    (line,) = [line for line in (directory / "logs" / "train.log").read_text().splitlines() if "planned" in line]
    assert "step      20  planned " in line and "; measured " in line and line.endswith("times the seconds planned")


def test_a_short_run_tells_at_its_end_and_one_without_its_hardware_never(corpus: Path, tmp_path: Path) -> None:
    short = {"tokens": 3 * 4 * 16}
    train_processes(small_run(corpus, tmp_path / "one", cluster=CPU, train=short), 1)
    others = {"without": {}, "of GPUs": {**CPU, "gpus": True}}
    for name, cluster in others.items():
        train_processes(small_run(corpus, tmp_path / name, cluster=cluster, train=short), 1)
    assert [row["step"] for row in rows(tmp_path / "one")] == [3]
    assert [rows(tmp_path / name) for name in others] == [[], []]


def _break_planner(_: Path) -> None:
    import pretrain.planning.timing.step as module

    def fail(job: object) -> None:
        raise ZeroDivisionError("no bandwidth")

    module.step_time = fail  # type: ignore[assignment]


def test_a_planner_that_fails_ends_no_run(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path, cluster=CPU, train={"tokens": 2 * 4 * 16})
    found = train_processes(run, 1, before=_break_planner)
    assert [row["message"] for row in found if "cannot be planned" in str(row.get("message"))] == [
        "this run cannot be planned: ZeroDivisionError('no bandwidth')"
    ]
    assert sum(row["kind"] == "train" for row in found) == 2
