"""Checkpoints of every optimizer go on bit for bit, under another layout within rounding, with another one not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pretrain.checkpoint.saved import Saved
from pretrain.config.load import load_run
from tests.example import small_run
from tests.processes import finish, start, told, train_processes, train_rows
from tests.training.layouts import ADAFACTOR, LLAMA, MUON
from tests.training.test_reshard import go_on, run_saving
from tests.training.test_resume import kill_at_random

ALONE = {"parallel": {"zero": 0}}
CUT = {"parallel": {"tensor": 2, "pipe": 2}}
OPTIMIZERS: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = {
    "muon-zero0": (MUON, 2, ALONE),
    "muon-zero2": (MUON, 2, {"parallel": {"zero": 2}}),
    "muon-bf16": (MUON, 2, {"precision": {"compute": "bf16"}, "parallel": {"zero": 1}}),
    "muon-offload": (MUON, 2, {"parallel": {"zero": 1, "offload": "optimizer"}}),
    "adafactor": (ADAFACTOR, 1, ALONE),
}


def run_of(corpus: Path, directory: Path, optimizer: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return run_saving(corpus, directory, optimizer={"learning_rate": 1e-3, "clip": 0.5, **optimizer}, **changes)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_goes_on_bit_for_bit(name: str, corpus: Path, tmp_path: Path) -> None:
    optimizer, processes, changes = OPTIMIZERS[name]
    run = run_of(corpus, tmp_path / "run", optimizer, **changes)
    undisturbed = train_rows(train_processes(run, processes), "loss")
    assert train_rows(go_on(run, tmp_path / "on", processes, []), "loss") == undisturbed


def test_muon_is_killed_at_random_moments(corpus: Path, tmp_path: Path) -> None:
    changes = {"optimizer": MUON, "parallel": {"zero": 1}}
    kill_at_random(corpus, tmp_path, 2, 2, changes)


@pytest.mark.parametrize(
    ("processes", "changes"),
    [
        (1, ["parallel.tensor=1", "parallel.pipe=1", "parallel.zero=0"]),
        (2, ["parallel.tensor=1", "parallel.pipe=1", "parallel.zero=2"]),
    ],
)
def test_muon_goes_on_elsewhere(
    processes: int, changes: list[str], cut: tuple[dict[str, Any], list[float]], tmp_path: Path
) -> None:
    run, undisturbed = cut
    rows = go_on(run, tmp_path / "on", processes, changes)
    assert train_rows(rows, "loss") == pytest.approx(undisturbed, abs=5e-6)


@pytest.fixture(scope="module")
def cut(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[float]]:
    """A LLAMA style run on tensor 2 x pipe 2 x data 2, and its losses."""
    run = run_of(corpus, tmp_path_factory.mktemp("cut"), MUON, model=LLAMA, **CUT)
    return run, train_rows(train_processes(run, 8), "loss")


def test_without_zero_it_is_read_by_a_pipeline(corpus: Path, tmp_path: Path) -> None:
    run = run_of(corpus, tmp_path / "saved", MUON, **ALONE)
    undisturbed = train_rows(train_processes(run, 1), "loss")
    rows = go_on(run, tmp_path / "on", 2, ["parallel.pipe=2", "parallel.zero=1"])
    assert train_rows(rows, "loss") == pytest.approx(undisturbed, abs=5e-6)


def test_adafactor_goes_on_with_more_processes(corpus: Path, tmp_path: Path) -> None:
    run = run_of(corpus, tmp_path / "saved", ADAFACTOR, **ALONE)
    undisturbed = train_rows(train_processes(run, 1), "loss")
    assert train_rows(go_on(run, tmp_path / "on", 2, []), "loss") == pytest.approx(undisturbed, abs=1e-6)
    checkpoint = tmp_path / "saved" / "checkpoints" / "step-00000010"
    saved = Saved(checkpoint, load_run(checkpoint / "run.yaml").model)
    assert saved.kinds("blocks.0.mlp.up.weight") == {"weight": (128, 32), "row_var": (128, 1), "col_var": (1, 32)}
    assert saved.whole("blocks.0.mlp.up.weight", "row_var").shape == (128, 1)
    assert saved.whole("blocks.0.mlp.up.bias", "variance").shape == (128,)


def test_another_optimizer_is_refused(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path)
    train_processes(run, 1)
    assert finish(start(run, 1, ["optimizer.name=muon", "train.tokens=2560"])) == [2]
    assert "was trained with adamw, whose moments mean nothing to muon" in told(run)
    assert "optimizer: adamw, or begin another run" in told(run)


def test_a_cool_down_branches_off_a_stable_run(corpus: Path, tmp_path: Path) -> None:
    """Its first steps are the run's; then its own, at a learning rate that goes to 0 (Hu et al. 2024, section 4)."""
    run = small_run(corpus, tmp_path / "stable", schedule={"name": "constant"}, checkpoint={"every": "10 steps"})
    stable = train_processes(run, 1)
    shutil.copytree(tmp_path / "stable", tmp_path / "branch")
    shutil.rmtree(tmp_path / "branch" / "checkpoints" / "step-00000020")
    branch = {**run, "directory": str(tmp_path / "branch")}
    rows = train_processes(branch, 1, ["schedule.name=wsd", "schedule.cooldown=256", "train.tokens=960"])
    assert train_rows(rows, "loss")[:12] == train_rows(stable, "loss")[:12]
    assert train_rows(rows, "loss")[12] != train_rows(stable, "loss")[12]
    assert train_rows(rows, "learning_rate")[10:] == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3, 0.0])
    assert "schedule.name: constant -> wsd" in told(branch)
