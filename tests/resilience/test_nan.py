"""Who made the first number that is none: rank, host, micro-batch and sample."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from pretrain.config.load import merge
from tests.example import small_run
from tests.processes import finish, start, told, train_processes, train_rows
from tests.resilience.poison import Before, nan_gradient, nan_weight, poisoned_sample

HOST = socket.gethostname()


def run_of(corpus: Path, directory: Path, **changes: Any) -> dict[str, Any]:
    base = {"model": {"dropout": 0.0}, "batch": {"micro_batch_size": 1}, "train": {"tokens": 8 * 4 * 16}}
    return small_run(corpus, directory, **merge(base, changes))


CASES: dict[str, tuple[Before, dict[str, Any], str]] = {
    # step 3 serves samples 8 to 11; rank 1 of 2 reads 9 and 11
    "loss": (poisoned_sample(9, float("nan"), rank=1), {}, (
        f"the loss is nan at step 3 (samples 8 to 11 of the order); rank 1 on {HOST} had every one of its 2 samples "
        "without a loss: sample 9 in micro-batch 1 of 2 ("
    )),
    "weight": (nan_weight(2, 1, "blocks.1.mlp.up.weight"), {"parallel": {"zero": 2}}, (
        f"rank 1 on {HOST} holds weights that are no numbers: blocks.1.mlp.up.weight."
    )),
    "vector": (nan_gradient(2, 1, "blocks.1.mlp_norm.weight"), {}, (
        f"the gradient norm is nan at step 3 (samples 8 to 11 of the order); rank 1 on {HOST} made a gradient"
    )),
    "matrix": (nan_gradient(2, 1, "blocks.0.mlp.up.weight"), {"parallel": {"zero": 3}}, (
        f"rank 1 on {HOST} made a gradient that is no number."
    )),
    "passing": (nan_gradient(2, 1, "blocks.0.mlp.up.weight", always=False), {}, "not the data and not the weights"),
    "stage": (nan_gradient(2, 0, "blocks.0.mlp.up.weight"), {"parallel": {"pipe": 2}}, (
        f"rank 0 on {HOST} made a gradient that is no number."
    )),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_rank_is_named_and_the_run_stops(name: str, corpus: Path, tmp_path: Path) -> None:
    before, changes, message = CASES[name]
    run = run_of(corpus, tmp_path, **changes)
    assert finish(start(run, 2, before=before)) == [1, 1]
    assert message in told(run)
    assert "resilience.spikes.nan: rollback" in told(run) and "Traceback" not in told(run)


def test_a_step_without_a_number_may_be_left_out(corpus: Path, tmp_path: Path) -> None:
    run = run_of(corpus, tmp_path, resilience={"spikes": {"nan": "skip"}})
    rows = train_processes(run, 2, before=poisoned_sample(9, float("inf"), rank=0))
    assert train_rows(rows, "step") == [1, 2, 4, 5, 6, 7, 8]
    events = [row["message"] for row in rows if row["kind"] == "event" and row["step"] == 3]
    assert len(events) == 1 and "its update is left out" in events[0] and f"rank 0 on {HOST}" in events[0]


def test_the_limit_stops_the_run(corpus: Path, tmp_path: Path) -> None:
    run = run_of(corpus, tmp_path, resilience={"spikes": {"nan": "skip", "limit": 0}})
    assert finish(start(run, 1, before=poisoned_sample(9, float("nan")))) == [1]
    assert "resilience.spikes.limit, 0 times, is reached" in told(run)
