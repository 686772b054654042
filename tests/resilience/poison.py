"""Batches that spoil a step, for tests: called in a training process before it trains."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pretrain.checkpoint.state import TrainState
from pretrain.model.loss import Losses
from pretrain.parallel.runner import MicroBatch
from pretrain.training import loop, resume, rollback
from pretrain.training.setup import Session
from pretrain.training.step import StepResult

Before = Callable[[Path], None]


def poisoned_sample(sample: int, factor: float, rank: int | None = None) -> Before:
    """The step that serves this sample of the order has its loss and gradient multiplied, on one rank or on all."""
    return partial(_poison, sample, factor, rank)


def _poison(sample: int, factor: float, rank: int | None, directory: Path) -> None:
    step = loop._step

    def spoilt(session: Session, state: TrainState, *rest: Any) -> StepResult:
        window = session.plan.window(range(state.step, state.step + 1))
        hit = window.first_sample <= sample < window.first_sample + window.samples
        if not hit or rank not in (None, session.world.rank):
            return step(session, state, *rest)
        runner, accumulate = session.runner, session.runner.accumulate

        def scaled(batches: Sequence[MicroBatch], number: int, scale: float) -> list[Losses]:
            passed = accumulate(batches, number, scale * factor)
            return [losses._replace(per_token=losses.per_token * factor) for losses in passed]

        runner.accumulate = scaled  # type: ignore[method-assign]
        try:
            return step(session, state, *rest)
        finally:
            runner.accumulate = accumulate  # type: ignore[method-assign]

    loop._step = spoilt


def nan_weight(step: int, rank: int, name: str) -> Before:
    """Before this step one parameter of one rank holds a NaN."""
    return partial(_nan_weight, step, rank, name)


def _nan_weight(at: int, rank: int, name: str, directory: Path) -> None:
    step = loop._step

    def spoilt(session: Session, state: TrainState, *rest: Any) -> StepResult:
        if state.step == at and session.world.rank == rank:
            with torch.no_grad():
                dict(session.engine.module.named_parameters())[name].view(-1)[0] = float("nan")
        return step(session, state, *rest)

    loop._step = spoilt


def nan_gradient(step: int, rank: int, name: str, always: bool = True) -> Before:
    """In this step one rank's own gradient of a parameter is NaN; its loss is a number."""
    return partial(_nan_gradient, step, rank, name, always)


def _nan_gradient(at: int, rank: int, name: str, always: bool, directory: Path) -> None:
    step, done = loop._step, [False]

    def spoilt(session: Session, state: TrainState, *rest: Any) -> StepResult:
        if state.step != at or session.world.rank != rank:
            return step(session, state, *rest)

        def ruin(gradient: Tensor) -> Tensor:
            first, done[0] = not done[0], True
            return gradient * float("nan") if always or first else gradient

        sensor = session.runner.sensor._look
        parameter = dict(session.engine.module.named_parameters())[name]
        parameter.register_hook(ruin)  # the sensor's own hook, if any, came before: it must see the ruin
        if parameter.dim() < 2:
            parameter.register_hook(sensor)
        return step(session, state, *rest)

    loop._step = spoilt


def killed_after(function: str, sample: int, factor: float) -> Before:
    """Poisoned; and rank 0 is killed as soon as a function of the rollback returns."""
    return partial(_killed_after, function, sample, factor)


PLACES = {
    "add_skipped": rollback,
    "set_aside": resume,
    "set_void_aside": resume,
    "resume": resume,
    "go_on": rollback,
}


def _killed_after(function: str, sample: int, factor: float, directory: Path) -> None:
    _poison(sample, factor, None, directory)
    module = PLACES[function]
    whole = getattr(module, function)

    def then_killed(*arguments: Any) -> Any:
        result = whole(*arguments)
        # go_on and what it calls run at the start too, when there is nothing to roll back
        if (directory / "skipped.json").exists() and os.environ["RANK"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(module, function, then_killed)
