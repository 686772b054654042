"""The saver in one process, with a stand-in for DeepSpeed's engine and a disk that fails when told to."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pretrain.checkpoint import rank, save
from pretrain.checkpoint.disk import AbandonedError
from pretrain.checkpoint.files import damage, list_checkpoints
from pretrain.checkpoint.save import Saved, SaveError, Saver
from pretrain.checkpoint.state import TrainState
from pretrain.checkpoint.tensors import load_tensors, save_tensors
from pretrain.config.checkpoint import Checkpoint
from pretrain.parallel.process import World


class Engine:
    """One file with one tensor."""

    checkpoint_engine: Any

    def __init__(self) -> None:
        self.weight = torch.zeros(1000)

    def save_checkpoint(self, directory: str, tag: str, save_latest: bool) -> None:
        self.checkpoint_engine.create(None)
        self.checkpoint_engine.save({"module": {"weight": self.weight}}, f"{directory}/{tag}/model.pt")


class Made:
    """A saver and what it told."""

    def __init__(self, directory: Path, **config: Any) -> None:
        self.engine, self.saved, self.said = Engine(), [], []
        self.directory = directory
        world = World(0, 1, torch.device("cpu"))

        def say(state: TrainState, message: str) -> None:
            self.said.append(message)

        settings = Checkpoint.parse(config)
        self.saver = Saver(self.engine, directory, settings, world, lambda _: None, self.saved.append, say)

    saved: list[Saved]
    said: list[str]

    def save(self, step: int, last: bool = False) -> None:
        self.engine.weight.fill_(step)
        self.saver.save(state(step), last)
        self.saver.hold()
        self.engine.weight.fill_(-1)  # training goes on

    @property
    def errors(self) -> list[str]:
        return [str(saved.error) for saved in self.saved if saved.error]

    @property
    def names(self) -> list[str]:
        return [path.name for path in list_checkpoints(self.directory)]


def state(step: int) -> TrainState:
    return TrainState("id", step, step * 4, step * 1000, "", {}, "", "", "", "", {})


def failing(error: Exception | None) -> Callable[..., Any]:
    def save(value: object, path: Path, abandon: threading.Event) -> Any:
        if error:
            raise error
        return save_tensors(value, path, abandon)

    return save


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Writing waits until it is set, or is abandoned."""
    opened = threading.Event()

    def save(value: object, path: Path, abandon: threading.Event) -> Any:
        while not opened.wait(0.01):
            if abandon.is_set():
                raise AbandonedError
        return save_tensors(value, path, abandon)

    monkeypatch.setattr(rank, "save_tensors", save)
    yield opened
    opened.set()


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path, gate: threading.Event) -> None:
    made = Made(tmp_path)
    made.save(10)
    assert made.saver.busy and made.names == [] and made.saved == []
    gate.set()
    made.saver.finish()
    (checkpoint,) = list_checkpoints(tmp_path)
    assert not made.saver.busy and damage(checkpoint) is None
    assert load_tensors(checkpoint / "engine" / "model.pt")["module"]["weight"].unique().tolist() == [10]
    assert [(saved.state.step, saved.error) for saved in made.saved] == [(10, None)]
    assert made.saved[0].bytes == sum(
        path.stat().st_size for path in checkpoint.rglob("*.*") if path.name != "files.json"
    )


def test_settling_between_steps_commits_and_tells(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.save(10)
    for _ in range(2000):
        if made.saved:
            break
        if not made.saver.busy:
            made.saver.settle()
        threading.Event().wait(0.005)
    assert made.names == ["step-00000010"] and (tmp_path / "latest").read_text() == "step-00000010"


def test_the_next_save_waits_for_the_one_before(tmp_path: Path, gate: threading.Event) -> None:
    made = Made(tmp_path)
    made.save(10)
    threading.Timer(0.3, gate.set).start()
    made.save(20)
    assert made.names == ["step-00000010"], "whole before the next one begins"
    assert made.saved[0].waited_seconds > 0.2
    made.saver.finish()
    assert made.names == ["step-00000020", "step-00000010"]


@pytest.mark.parametrize("asynchronous", [True, False])
def test_the_last_checkpoint_is_waited_for(tmp_path: Path, asynchronous: bool) -> None:
    made = Made(tmp_path, asynchronous=asynchronous)
    made.save(10, last=True)
    assert made.names == ["step-00000010"]


def test_an_error_in_training_abandons_what_is_being_written(tmp_path: Path, gate: threading.Event) -> None:
    made = Made(tmp_path)
    with pytest.raises(ZeroDivisionError), made.saver:
        made.save(10)
        raise ZeroDivisionError
    assert not made.saver.busy and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("asynchronous", [True, False])
def test_failed_saves_are_told_until_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    """Any error counts, whether the disk is full or the writer is broken; a success starts the count anew."""
    made = Made(tmp_path, failures=2, asynchronous=asynchronous)
    full, broken = OSError(errno.ENOSPC, "No space left on device"), RuntimeError("broken")
    for step, error in ((1, full), (2, None), (3, broken)):
        monkeypatch.setattr(rank, "save_tensors", failing(error))
        made.save(step)
        made.saver.finish()
    assert made.names == ["step-00000002"]
    assert made.errors == [
        "step-00000001 was not saved: [Errno 28] No space left on device",
        "step-00000003 was not saved: RuntimeError('broken')",
    ]
    with pytest.raises(SaveError, match=r"2 checkpoints in a row .* the disk mounted at /.* bytes free.*step-00000004"):
        made.save(4)
        made.saver.finish()
    assert made.names == ["step-00000002"] and not list(tmp_path.glob("*.tmp"))


def test_a_failed_commit_is_a_failed_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path)
    made.save(1)
    made.saver.finish()

    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        made.save(2)
        made.saver.finish()
    assert made.errors == ["step-00000002 was not saved: [Errno 5] Input/output error"]
    assert made.names == ["step-00000001"] and not list(tmp_path.glob("*.tmp"))


def test_a_last_checkpoint_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path, failures=1)
    monkeypatch.setattr(rank, "save_tensors", failing(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(SaveError, match=r"step-00000001 was not saved: .*Input/output error"):
        made.save(1, last=True)


def test_the_failure_of_the_one_before_does_not_keep_the_last_from_being_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(tmp_path, failures=1)
    monkeypatch.setattr(rank, "save_tensors", failing(OSError(errno.EIO, "Input/output error")))
    made.save(1)
    while made.saver.busy:
        time.sleep(0.01)
    monkeypatch.setattr(rank, "save_tensors", save_tensors)
    made.save(2, last=True)
    assert made.names == ["step-00000002"] and len(made.errors) == 1


def test_without_memory_for_a_copy_training_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path)
    monkeypatch.setattr(rank, "available_memory", lambda: 8999)  # 4,000 bytes and the random state's 5,056
    made.save(1)
    assert made.names == ["step-00000001"], "when save returns"
    assert "written while training waits: their copy takes 9,056 bytes of memory" in made.said[0]


def test_an_interrupted_checkpoint_is_cleaned_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "step-00000001.tmp" / "engine").mkdir(parents=True)
    made = Made(tmp_path)
    made.save(1, last=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000001"]


def test_ranks_whose_copies_share_a_machine_add_up() -> None:
    needs = [rank.Need("a", 60, 100), rank.Need("b", 60, 100), rank.Need("a", 60, 100)]
    assert save._lack_of_memory(needs) == "their copy takes 120 bytes of memory, a has 100 left"
    assert save._lack_of_memory(needs[:2]) is None
