"""Written while training goes on, a checkpoint is the one that a standstill would have written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pretrain.checkpoint.engine import SAFE
from pretrain.checkpoint.files import damage, list_checkpoints
from pretrain.checkpoint.tensors import load_tensors
from tests.example import small_run
from tests.processes import finish, start, told, train_processes, train_rows

LAYOUTS: dict[str, tuple[int, dict[str, Any], str]] = {
    "zero1-bf16": (2, {"zero": 1}, "bf16"),
    "zero3-fp32": (2, {"zero": 3}, "fp32"),
    "pipe2-bf16": (2, {"pipe": 2}, "bf16"),
    "zero0-fp32": (1, {"zero": 0}, "fp32"),
}
SLOW: dict[str, tuple[int, dict[str, Any], str]] = {
    "zero1-fp32": (2, {"zero": 1}, "fp32"),
    "zero2-fp32": (2, {"zero": 2}, "fp32"),
    "zero2-bf16": (2, {"zero": 2}, "bf16"),
    "zero3-bf16": (2, {"zero": 3}, "bf16"),
    "pipe2-fp32": (2, {"pipe": 2}, "fp32"),
    "dualpipev": (2, {"pipe": 2, "schedule": "dualpipev"}, "fp32"),
    "tensor2-bf16": (2, {"tensor": 2}, "bf16"),
}


def write_slowly(directory: Path) -> None:
    """The next update is due before the copy, and steps are done between the copy and the writing."""
    from pretrain.checkpoint import rank
    from pretrain.checkpoint.snapshot import HostBuffers

    def slowly(function: Any, seconds: float) -> Any:
        def later(*args: Any) -> Any:
            time.sleep(seconds)
            return function(*args)

        return later

    rank.save_tensors = slowly(rank.save_tensors, 0.1)
    HostBuffers.fill = slowly(HostBuffers.fill, 0.5)  # type: ignore[method-assign]


@pytest.mark.parametrize("name", [*LAYOUTS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_the_same_tensors_as_a_synchronous_one(corpus: Path, tmp_path: Path, name: str) -> None:
    processes, parallel, compute = {**LAYOUTS, **SLOW}[name]
    rows = {}
    for way in (True, False):
        run = small_run(
            corpus,
            tmp_path / str(way),
            model={"layers": 4},
            batch={"global_batch_size": 8, "micro_batch_size": 2},
            train={"tokens": 20 * 8 * 16},
            parallel=parallel,
            precision={"compute": compute},
            checkpoint={"every": "8 steps", "asynchronous": way},
        )
        rows[way] = train_processes(run, processes, before=write_slowly)
    assert train_rows(rows[True], "loss") == train_rows(rows[False], "loss")
    ours, theirs = (list_checkpoints(tmp_path / str(way) / "checkpoints") for way in (True, False))
    assert [path.name for path in ours] == ["step-00000020", "step-00000016", "step-00000008"]
    for mine, other in zip(ours, theirs, strict=True):
        names = sorted(path.relative_to(mine) for path in mine.rglob("*.pt"))
        assert names == sorted(path.relative_to(other) for path in other.rglob("*.pt"))
        for file in names:
            same(load_tensors(mine / file, SAFE), load_tensors(other / file, SAFE), str(file))
    told_rows = [row for row in rows[True] if row["kind"] == "checkpoint"]
    assert [row["step"] for row in told_rows] == [8, 16, 20]
    assert all(row["bytes"] > 100_000 and row["write_seconds"] > 0.1 for row in told_rows)
    order = [(row["kind"], row["step"]) for row in rows[True]]
    assert order.index(("train", 9)) < order.index(("checkpoint", 8)), "training went on meanwhile"


def same(a: Any, b: Any, where: str) -> None:
    """Raises AssertionError at the first thing in which two files differ."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert (a.dtype, a.shape, a.requires_grad) == (b.dtype, b.shape, b.requires_grad), where
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            same(a[key], b[key], f"{where} {key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            same(one, other, f"{where} {index}")
    else:
        assert getattr(a, "__dict__", a) == getattr(b, "__dict__", b), where


def fail_on_rank_1(directory: Path) -> None:
    """Its second checkpoint cannot be written."""
    import os

    from pretrain.checkpoint import rank

    whole = rank.save_tensors

    def save(value: object, path: Path, abandon: Any) -> Any:
        if os.environ["RANK"] == "1" and "step-00000010" in str(path):
            raise OSError(5, "Input/output error")
        return whole(value, path, abandon)

    rank.save_tensors = save


def test_a_writer_that_fails_on_one_rank_is_told_and_passed_over(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path, checkpoint={"every": "5 steps"})
    train_processes(run, 2, before=fail_on_rank_1)
    found = list_checkpoints(tmp_path / "checkpoints")
    assert [path.name for path in found] == ["step-00000020", "step-00000015", "step-00000005"]
    assert not any(map(damage, found)) and not list((tmp_path / "checkpoints").glob("*.tmp"))
    assert "CHECKPOINT FAILED, training goes on: step-00000010 was not saved: [Errno 5]" in told(run)


def write_very_slowly_and_fail(directory: Path) -> None:
    """An exception in training while a checkpoint is being written, which would take longer than the test waits."""
    from pretrain.checkpoint import rank
    from pretrain.checkpoint.disk import AbandonedError
    from pretrain.training import loop

    def save(value: object, path: Path, abandon: Any) -> Any:
        abandon.wait(600)
        raise AbandonedError

    def step(*args: Any) -> Any:
        if args[1].step == 12:
            raise ZeroDivisionError("planted")
        return whole(*args)

    whole, loop._step = loop._step, step
    rank.save_tensors = save


def test_a_failing_run_does_not_wait_for_its_writer(corpus: Path, tmp_path: Path) -> None:
    run = small_run(corpus, tmp_path, checkpoint={"every": "10 steps"})
    assert finish(start(run, 1, before=write_very_slowly_and_fail)) == [1]
    assert "planted" in told(run) and not list((tmp_path / "checkpoints").iterdir())
