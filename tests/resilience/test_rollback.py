"""Going back without the batches around a spike: the curve is that of a run which never had them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pretrain.checkpoint.files import list_checkpoints
from pretrain.checkpoint.show import contents_text, read_contents
from pretrain.checkpoint.state import read_state
from pretrain.monitoring.jsonl import read_rows
from tests.example import small_run
from tests.processes import finish, start, told, train_processes, train_rows
from tests.resilience.poison import killed_after, poisoned_sample

STEPS, POISONED = 20, 57
"""Sample 57 is served by step 15, counted from 1. Checkpoints at 3, 6, 9, 12; the third from the end is 6."""
WINDOW = {"first_sample": 52, "samples": 12}
"""Steps 14, 15 and 16."""


def run_of(corpus: Path, directory: Path, **changes: Any) -> dict[str, Any]:
    """20 steps of 4 samples with dropout, saved every third; a spike goes back three checkpoints."""
    policy = {"spike": "rollback", "nan": "rollback", "rollback": {"checkpoints": 3, "before": 1, "after": 1}}
    run = small_run(
        corpus,
        directory,
        train={"tokens": STEPS * 4 * 16},
        schedule={"name": "constant"},
        checkpoint={"every": "3 steps", "keep_last": 20},
        resilience={"spikes": {**policy, "window": 8, "warmup": 8, "loss": 20, "grad_norm": 50}},
    )
    return {**run, **changes}


def clean_run(corpus: Path, directory: Path, processes: int, **changes: Any) -> list[dict[str, Any]]:
    """The rows of a run that leaves the window out from its start."""
    data = {"manifest": str(corpus), "skip": [WINDOW]}
    return train_processes(run_of(corpus, directory, data=data, **changes), processes)


def same_curve(rows: list[dict[str, Any]], clean: list[dict[str, Any]]) -> None:
    for column in ("step", "first_sample", "loss", "grad_norm"):
        assert train_rows(rows, column) == train_rows(clean, column), column


@pytest.fixture(scope="module")
def clean(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """One process without the window: its directory and rows."""
    directory = tmp_path_factory.mktemp("clean")
    return directory, clean_run(corpus, directory, 1)


def test_one_process(corpus: Path, tmp_path: Path, clean: tuple[Path, list[dict[str, Any]]]) -> None:
    run, poison = run_of(corpus, tmp_path), poisoned_sample(POISONED, 30.0)
    train_processes(run, 1, ["train.tokens=1088"], before=poison)  # 17 steps, and a restart for the last three
    rows = train_processes(run, 1, before=poison)
    same_curve(rows, clean[1])
    (row,) = json.loads((tmp_path / "skipped.json").read_text())["windows"]
    assert {key: row[key] for key in WINDOW} == WINDOW and (row["step"], row["to_step"]) == (15, 6)
    assert row["why"]["quantity"] == "loss" and row["why"]["z"] > 20 and row["why"]["window"] == 8
    event = next(line for line in rows if line["kind"] == "event" and "a spike" in line["message"])
    assert event["step"] == 6 and event["message"] == row["message"] and event["what"] == "rollback"
    assert "back to step-00000006, without samples 52 to 63 of the order (" in event["message"]
    assert "crawl-train-" in event["message"] and "logs/skipped-52.jsonl" in event["message"]
    samples = [json.loads(line) for line in (tmp_path / "logs" / "skipped-52.jsonl").read_text().splitlines()]
    assert [sample["sample"] for sample in samples] == list(range(52, 64))
    aside = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.rolledback"))
    assert aside == ["step-00000009.rolledback", "step-00000012.rolledback"]
    ours, theirs = (read_state(list_checkpoints(run / "checkpoints")[0]) for run in (tmp_path, clean[0]))
    assert (ours.order_hash, ours.plan_fingerprint) == (theirs.order_hash, theirs.plan_fingerprint)
    assert ours.spikes["rollbacks"] == 1 and ours.spikes["losses"] == theirs.spikes["losses"]
    shown = contents_text(read_contents(list_checkpoints(tmp_path / "checkpoints")[0]))
    assert "left out    samples 52 to 63 of the order" in shown


@pytest.mark.parametrize(
    ("parallel", "compute"),
    [
        ({"zero": 3}, "fp32"),
        ({"pipe": 2}, "fp32"),
        pytest.param({"zero": 2}, "fp32", marks=pytest.mark.slow),
        pytest.param({"zero": 0}, "fp32", marks=pytest.mark.slow),
        pytest.param({"zero": 1}, "bf16", marks=pytest.mark.slow),
        pytest.param({"pipe": 2}, "bf16", marks=pytest.mark.slow),
        pytest.param({"tensor": 2}, "fp32", marks=pytest.mark.slow),
        pytest.param({"zero": 1, "offload": "optimizer"}, "fp32", marks=pytest.mark.slow),
        pytest.param({"zero": 3, "offload": "all"}, "fp32", marks=pytest.mark.slow),
    ],
)
def test_two_processes(parallel: dict[str, Any], compute: str, corpus: Path, tmp_path: Path) -> None:
    changes = {"parallel": parallel, "precision": {"compute": compute}}
    rows = train_processes(
        run_of(corpus, tmp_path / "run", **changes), 2, before=poisoned_sample(POISONED, float("nan"), rank=1)
    )
    same_curve(rows, clean_run(corpus, tmp_path / "clean", 2, **changes))
    # with tensor ranks the loss that counts is rank 0's: here the gradient tells
    event = next(
        line["message"] for line in rows if line["kind"] == "event" and " is nan at step 15" in line["message"]
    )
    assert "rank 1 on" in event and "back to step-00000006" in event


@pytest.mark.parametrize("function", ["add_skipped", "set_aside", "set_void_aside", "resume", "go_on"])
def test_killed_in_the_middle(
    function: str, corpus: Path, tmp_path: Path, clean: tuple[Path, list[dict[str, Any]]]
) -> None:
    run = run_of(corpus, tmp_path)
    assert finish(start(run, 1, before=killed_after(function, POISONED, 30.0))) == [-9]
    left = {path.name for path in list_checkpoints(tmp_path / "checkpoints")}
    assert len(left) == {"add_skipped": 4, "set_aside": 3}.get(function, 2)
    assert train_rows(list(read_rows(tmp_path / "metrics.jsonl")), "step")[-1] == 14, "not cut back yet"
    rows = train_processes(run, 1, before=poisoned_sample(POISONED, 30.0))
    same_curve(rows, clean[1])
    assert any("back to step-00000006" in row["message"] for row in rows if row["kind"] == "event")
    assert {path.name for path in (tmp_path / "checkpoints").glob("*.rolledback")} == {
        "step-00000009.rolledback",
        "step-00000012.rolledback",
    }


def test_no_checkpoint_to_go_back_to(corpus: Path, tmp_path: Path) -> None:
    run = run_of(corpus, tmp_path, checkpoint={})
    assert finish(start(run, 1, before=poisoned_sample(POISONED, 30.0))) == [1]
    assert "There is no checkpoint to go back to: set checkpoint.every" in told(run)
