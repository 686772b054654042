"""An update that is left out: weights and moments stay to the bit, and the run goes on as if without that batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from pretrain.checkpoint.saved import Saved
from pretrain.config.load import load_run
from tests.example import small_run
from tests.processes import train_processes, train_rows
from tests.resilience.poison import poisoned_sample

AT, STEPS = 12, 16
"""The poisoned step, counted from 1, and all steps."""
POISONED = (AT - 1) * 4


class Row(NamedTuple):
    """A layout that every kind of optimizer of DeepSpeed's is in."""

    processes: int
    parallel: dict[str, Any]
    compute: str = "fp32"
    slow: bool = False


ROWS = {
    "one": Row(1, {"zero": 0}),
    "zero1": Row(2, {"zero": 1}),
    "zero2": Row(2, {"zero": 2}),
    "zero3": Row(2, {"zero": 3}),
    "pipe2": Row(2, {"pipe": 2}),
    "bf16-zero1": Row(2, {"zero": 1}, "bf16"),
    "tensor2-zero0": Row(2, {"tensor": 2, "zero": 0}, slow=True),
    "tensor2-zero3": Row(2, {"tensor": 2, "zero": 3}, slow=True),
    "dualpipev": Row(2, {"pipe": 2, "schedule": "dualpipev"}, slow=True),
    "bf16-zero2": Row(2, {"zero": 2}, "bf16", slow=True),
    "bf16-zero3": Row(2, {"zero": 3}, "bf16", slow=True),
    "bf16-pipe2": Row(2, {"pipe": 2}, "bf16", slow=True),
    "offload-zero1": Row(2, {"zero": 1, "offload": "optimizer"}, slow=True),
    "offload-zero2-bf16": Row(2, {"zero": 2, "offload": "optimizer"}, "bf16", slow=True),
    "offload-zero3": Row(2, {"zero": 3, "offload": "all"}, slow=True),
}


def run_of_row(row: Row, corpus: Path, directory: Path, **changes: Any) -> dict[str, Any]:
    """16 steps of 4 samples without dropout at one learning rate, all saved."""
    run = small_run(
        corpus,
        directory,
        train={"tokens": STEPS * 4 * 16},
        model={"dropout": 0.0, "layers": 4 if "schedule" in row.parallel else 2},
        batch={"micro_batch_size": 1},
        schedule={"name": "constant"},
        precision={"compute": row.compute},
        parallel=row.parallel,
        checkpoint={"every": "1 steps", "keep_last": STEPS},
        resilience={"spikes": {"spike": "skip", "nan": "skip", "window": 8, "warmup": 8, "loss": 20, "grad_norm": 50}},
    )
    return {**run, **changes}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if row.slow else []) for name, row in ROWS.items()]
)
def test_weights_and_moments_stay(name: str, corpus: Path, tmp_path: Path) -> None:
    row = ROWS[name]
    rows = train_processes(
        run_of_row(row, corpus, tmp_path / "run"), row.processes, before=poisoned_sample(POISONED, 30.0)
    )
    assert [line["step"] for line in rows if line.get("left_out")] == [AT]
    event = next(line for line in rows if line["kind"] == "event" and "a spike" in line["message"])
    assert event["step"] == AT and "its update is left out" in event["message"] and event["what"] == "spike"
    before, after, later = (parts(tmp_path / "run", step) for step in (AT - 1, AT, AT + 1))
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not all(torch.equal(after[key], later[key]) for key in after)
    # the next steps are those of a run that never saw the batch
    skip = {"manifest": str(corpus), "skip": [{"first_sample": POISONED, "samples": 4}]}
    clean = run_of_row(row, corpus, tmp_path / "clean", data=skip, train={"tokens": (STEPS - 1) * 4 * 16})
    without = train_processes(clean, row.processes)
    for column in ("loss", "grad_norm"):
        found = train_rows(rows, column)
        assert found[: AT - 1] + found[AT:] == train_rows(without, column)


def parts(run: Path, step: int) -> dict[tuple[str, str], torch.Tensor]:
    """Weights and moments of a checkpoint by name."""
    checkpoint = run / "checkpoints" / f"step-{step:08d}"
    saved = Saved(checkpoint, load_run(checkpoint / "run.yaml").model)
    return {(name, kind): saved.part(name, kind, 0, 1).clone() for name in saved.names for kind in saved.kinds(name)}


def test_another_layout_goes_on_with_the_updates_that_were_made(corpus: Path, tmp_path: Path) -> None:
    """Adam counts updates, not steps: its bias correction would jump."""
    one, two = Row(1, {"zero": 1}), Row(2, {"zero": 2})
    poison = poisoned_sample(POISONED, 30.0)
    undisturbed = train_processes(run_of_row(one, corpus, tmp_path / "one"), 1, before=poison)
    run = run_of_row(one, corpus, tmp_path / "two")
    train_processes(run, 1, [f"train.tokens={AT * 4 * 16}"], before=poison)
    rows = train_processes({**run, "parallel": two.parallel}, 2)
    assert train_rows(rows, "loss") == pytest.approx(train_rows(undisturbed, "loss"), abs=1e-6)
