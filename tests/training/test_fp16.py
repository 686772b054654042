"""fp16: steps that overflow are left out, told and counted; the loss scale goes through checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pretrain.checkpoint.files import list_checkpoints
from pretrain.checkpoint.state import read_state
from tests.example import small_run
from tests.processes import finish, start, told, train_processes, train_rows

HIGH = 2.0**20
"""Of this scale the first gradients of the small run are too large."""


def run_of(corpus: Path, directory: Path, **loss_scale: float) -> dict[str, Any]:
    return small_run(
        corpus,
        directory,
        model={"dropout": 0.0},
        schedule={"name": "constant"},
        precision={"compute": "fp16", "loss_scale": loss_scale},
    )


@pytest.mark.parametrize(
    ("processes", "parallel"),
    [
        (2, {"zero": 1}),
        (2, {"zero": 2}),
        (2, {"zero": 3}),
        (2, {"zero": 2, "offload": "optimizer"}),
        (2, {"pipe": 2}),
    ],
    ids=["zero1", "zero2", "zero3", "offload", "pipe2"],
)
def test_overflows_are_left_out(corpus: Path, tmp_path: Path, processes: int, parallel: dict[str, Any]) -> None:
    """The weights stay as they are until the scale has fallen far enough."""
    run = run_of(corpus, tmp_path, initial=2.0**40, hysteresis=1)
    run |= {"parallel": parallel, "train": {**run["train"], "tokens": 8 * 64, "validate_every": "1 steps"}}
    rows = train_processes(run, processes)
    train = [row for row in rows if row["kind"] == "train"]
    assert [row["loss_scale"] for row in train] == [2.0**power for power in range(40, 32, -1)]
    assert all(row["overflow"] == 1 and "grad_norm" not in row and "left_out" not in row for row in train)
    assert len({row["loss"] for row in rows if row["kind"] == "validation"}) == 1
    events = [row["message"] for row in rows if row["kind"] == "event" and "overflow" in row["message"]]
    assert events[0] == (
        "fp16 overflow at step 1, its update is left out: the loss scale was 1,099,511,627,776; "
        "the next is 549,755,813,888"
    )
    state = read_state(list_checkpoints(tmp_path / "checkpoints")[0])
    assert state.spikes["scale"] == {"value": 2.0**32, "good": 0, "hysteresis": 1, "overflows": 8}
    assert state.updates == 0 and state.spikes["left_out"] == 0 and state.spikes["norms"] == []


def test_resumed_bit_for_bit(corpus: Path, tmp_path: Path) -> None:
    """With overflows before the checkpoint and doublings after it; Adam counts updates, not steps."""
    whole = run_of(corpus, tmp_path / "whole", initial=HIGH, window=4)
    part = {**whole, "directory": str(tmp_path / "part")}
    expected = train_processes(whole, 2, ["parallel.zero=2"])
    train_processes(part, 2, ["parallel.zero=2", f"train.tokens={10 * 64}"])
    rows = train_processes(part, 2, ["parallel.zero=2"])
    for column in ("step", "loss", "loss_scale", "overflow"):
        assert train_rows(rows, column) == train_rows(expected, column)
    overflows = train_rows(rows, "overflow")
    assert 0 < sum(overflows[:10]) < 10
    assert max(train_rows(rows, "loss_scale")[10:]) > min(train_rows(rows, "loss_scale"))


def test_goes_on_in_other_formats_and_back(corpus: Path, tmp_path: Path) -> None:
    run = run_of(corpus, tmp_path / "run", initial=2.0**10)
    expected = train_rows(train_processes(run, 1), "loss")
    run = {**run, "directory": str(tmp_path / "mixed")}
    for steps, compute in ((5, "fp16"), (10, "fp32"), (15, "bf16"), (20, "fp16")):
        other = [] if compute == "fp16" else ["precision.loss_scale=null", f"precision.compute={compute}"]
        rows = train_processes(run, 1, [f"train.tokens={steps * 64}", *other])
    assert train_rows(rows, "loss") == pytest.approx(expected, abs=3e-3)
    scales = [row.get("loss_scale") for row in rows if row["kind"] == "train"]
    assert scales == [2.0**10] * 5 + [None] * 10 + [2.0**10] * 5
    state = read_state(list_checkpoints(tmp_path / "mixed" / "checkpoints")[0])
    assert state.spikes["scale"]["good"] == 10 and state.updates == 20


def test_another_layout_goes_on_after_overflows(corpus: Path, tmp_path: Path) -> None:
    """Adam's count of updates is the checkpoint's steps without those that overflowed."""
    run = run_of(corpus, tmp_path / "run", initial=HIGH)
    expected = train_processes(run, 2, ["parallel.zero=2"])
    train_processes(part := {**run, "directory": str(tmp_path / "part")}, 2, [f"train.tokens={10 * 64}"])
    shutil.copytree(tmp_path / "part", tmp_path / "on")
    rows = train_processes({**part, "directory": str(tmp_path / "on")}, 1, ["parallel.zero=3"])
    assert train_rows(rows, "loss_scale") == train_rows(expected, "loss_scale")
    assert train_rows(rows, "loss") == pytest.approx(train_rows(expected, "loss"), abs=1e-4)


def test_overflow_at_every_step_stops_with_advice(corpus: Path, tmp_path: Path) -> None:
    run = run_of(corpus, tmp_path, initial=2.0**41, minimum=2.0**40)
    assert finish(start(run, 2)) == [1, 1]
    output = told(run)
    assert "fp16 overflow at every step, now with the smallest loss scale (1.09951e+12)" in output
    assert "at step 3 (" in output and "precision.compute: bf16" in output and "precision.loss_scale.minimum" in output
    assert "rollback" not in output and "Traceback" not in output
