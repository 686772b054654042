"""A checkpoint goes on under any other layout: the next ten steps are those of the run that was never disturbed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.processes import train_processes, train_rows
from tests.training.layouts import GPT3, LLAMA, MUP, run_of

SAVED = ["parallel.tensor=2", "parallel.pipe=2", "parallel.zero=1"]
"""On 8 processes: tensor 2 x pipe 2 x data 2."""

GOES_ON_AS: dict[str, tuple[int, list[str]]] = {
    "one-process": (1, ["parallel.tensor=1", "parallel.pipe=1"]),
    "data2-zero3": (2, ["parallel.tensor=1", "parallel.pipe=1", "parallel.zero=3"]),
    "tensor2-zero2": (2, ["parallel.pipe=1", "parallel.zero=2"]),
    "pipe4": (4, ["parallel.tensor=1", "parallel.pipe=4"]),
    "dualpipev": (4, ["parallel.schedule=dualpipev", "batch.micro_batch_size=2"]),
    "zero0": (1, ["parallel.tensor=1", "parallel.pipe=1", "parallel.zero=0"]),
}


def run_saving(corpus: Path, directory: Path, **changes: Any) -> dict[str, Any]:
    """20 steps of 16 samples, saved at 10 and 20."""
    run = run_of(corpus, directory)
    run["train"]["tokens"] = 20 * 16 * 16
    batch = {"global_batch_size": 16, "micro_batch_size": 2}
    return {**run, "checkpoint": {"every": "10 steps"}, "batch": batch, **changes}


def go_on(run: dict[str, Any], directory: Path, processes: int, changes: list[str]) -> list[dict[str, Any]]:
    """Copy a run of 20 steps, drop its last checkpoint, and go on from step 10."""
    shutil.copytree(run["directory"], directory)
    shutil.rmtree(directory / "checkpoints" / "step-00000020")
    return train_processes({**run, "directory": str(directory)}, processes, changes)


@pytest.fixture(scope="module")
def saved(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[float]]:
    """A GPT-3 style run of 20 steps saved at 10 and 20, and its losses."""
    run = run_saving(corpus, tmp_path_factory.mktemp("saved"))
    return run, train_rows(train_processes(run, 8, SAVED), "loss")


@pytest.mark.parametrize("name", GOES_ON_AS)
def test_another_layout_goes_on(name: str, saved: tuple[dict[str, Any], list[float]], tmp_path: Path) -> None:
    run, undisturbed = saved
    processes, changes = GOES_ON_AS[name]
    rows = go_on(run, tmp_path / "on", processes, [*SAVED, *changes])
    assert train_rows(rows, "loss") == pytest.approx(undisturbed, abs=1e-6)
    told = "step-00000010 was written as pipe 2 x data 2 x tensor 2, 1F1B, ZeRO 1, fp32 and is read as"
    assert any(told in row["message"] for row in rows if row["kind"] == "event")


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_every_zero_stage_is_read_by_a_pipeline(zero: int, corpus: Path, tmp_path: Path) -> None:
    """LLAMA style: an untied head, fewer key/value heads than tensor ranks would like."""
    run = run_saving(corpus, tmp_path / "saved", model=LLAMA)
    undisturbed = train_rows(train_processes(run, 2, [f"parallel.zero={zero}"]), "loss")
    rows = go_on(run, tmp_path / "on", 4, ["parallel.tensor=2", "parallel.pipe=2", "parallel.zero=1"])
    assert train_rows(rows, "loss") == pytest.approx(undisturbed, abs=1e-6)


def test_bf16_goes_on_elsewhere(corpus: Path, tmp_path: Path) -> None:
    """The fp32 master weights and moments travel; the steps then differ as bf16 does between layouts."""
    run = run_saving(corpus, tmp_path / "saved", precision={"compute": "bf16"})
    undisturbed = train_rows(train_processes(run, 2, ["parallel.zero=1"]), "loss")
    for name, changes in {"a": ["parallel.zero=3"], "b": ["parallel.zero=1", "parallel.pipe=2"]}.items():
        rows = go_on(run, tmp_path / name, 2, changes)
        assert train_rows(rows, "loss") == pytest.approx(undisturbed, abs=1e-3)


@pytest.mark.parametrize("zero", [0, 2])
def test_mup_goes_on_elsewhere(zero: int, corpus: Path, tmp_path: Path) -> None:
    """Its matrices are a group of the optimizer of their own, whose order ZeRO 0 saves moments in."""
    run = run_saving(corpus, tmp_path / "saved", model={**GPT3, **MUP})
    undisturbed = train_rows(train_processes(run, 2, [f"parallel.zero={zero}"]), "loss")
    for name, changes in {
        "cut": ["parallel.tensor=2", "parallel.pipe=2", "parallel.zero=1"],
        "zero3": ["parallel.zero=3"],
    }.items():
        rows = go_on(run, tmp_path / name, 4 if name == "cut" else 2, changes)
        assert train_rows(rows, "loss") == pytest.approx(undisturbed, abs=1e-6)
