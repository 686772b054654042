"""What each step and each validation leaves in the metrics."""

from __future__ import annotations

import math
import time
from typing import Self

import numpy as np

from pretrain.checkpoint.state import TrainState
from pretrain.monitoring.metrics import Metrics
from pretrain.monitoring.throughput import Meter, peak_memory_bytes
from pretrain.resilience.stop import StopRequest
from pretrain.training.inside import Insight
from pretrain.training.pace import PaceKeeper
from pretrain.training.planned import Comparison
from pretrain.training.schedule import learning_rate
from pretrain.training.setup import Session
from pretrain.training.spikes import told
from pretrain.training.step import StepResult
from pretrain.training.validation import scores, validate


class Teller:
    """What each step leaves in the metrics."""

    def __init__(self, session: Session, metrics: Metrics) -> None:
        self._session, self._metrics, self._started = session, metrics, 0.0
        self._meter = Meter(session.run, session.world.size, session.world.device)
        self._pace = PaceKeeper(session)
        self._inside = Insight(session)
        self._comparison = Comparison(session, metrics)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pace.close()

    def begin(self, state: TrainState) -> Session:
        """The step after `state` begins; the session to make it with, which may look inside the model."""
        self._started = time.perf_counter()
        return self._inside.begin(state)

    def step(self, state: TrainState, result: StepResult, last: bool) -> None:
        """A step is done: its findings, its row, slow ranks. All ranks call it together."""
        seconds, session = time.perf_counter() - self._started, self._session
        for message in told(session, state, result):
            self._metrics.event(state.step, state.tokens, message, what="spike")
        if (state.step % session.run.monitoring.log_every == 0 or last) and math.isfinite(result.losses.mean):
            self._metrics.write("train", train_row(session, state, result, self._meter, seconds))
        self._comparison.after(state, seconds)
        if row := self._inside.row(state):
            self._metrics.write("inside", row)
        for message in self._pace.after(state.step):
            self._metrics.event(state.step, state.tokens, message)

    def stop(self, state: TrainState, asked: StopRequest | None) -> str:
        """The run ends early; says and returns why."""
        reason = asked.why if asked else "a signal to another rank"
        self._metrics.event(state.step, state.tokens, f"{reason}: saving and ending", what="ended")
        return reason


def train_row(
    session: Session, state: TrainState, result: StepResult, meter: Meter, seconds: float
) -> dict[str, float | int | str]:
    """The metrics of one step. Units: nats, tokens, seconds, bytes; tflops and mfu are per device."""
    names, losses = session.corpus.sources, result.losses
    tokens = sum(losses.tokens)
    first, _ = session.plan.batch(state.step - 1)
    speed = meter.measure(tokens, seconds)
    return {
        "step": state.step,
        "tokens": state.tokens,
        **{f"tokens/{name}": count for name, count in state.served.items() if count},
        "first_sample": session.plan.order_index(np.array([first])).item(),
        "loss": losses.mean,
        **{f"loss/{name}": loss for name, loss in losses.per_source(names).items()},
        **({"z_loss": result.z_loss} if session.run.train.z_loss else {}),
        **_update(result),
        "learning_rate": learning_rate(session.run, state.tokens),
        "batch_tokens": tokens,
        **{f"batch_tokens/{name}": count for name, count in zip(names, losses.tokens, strict=True) if count},
        "step_seconds": seconds,
        "data_seconds": result.data_seconds,
        "data_bytes": result.read.bytes,
        "data_requests": result.read.requests,
        "tokens_per_second": speed.tokens_per_second,
        "tflops": speed.tflops,
        "mfu": speed.mfu,
        "memory_bytes": peak_memory_bytes(session.world.device),
    }


def _update(result: StepResult) -> dict[str, float | int | str]:
    """The gradient norm, and what kept the weights from being updated."""
    verdict = result.verdict
    row: dict[str, float | int | str] = {} if verdict.overflow else {"grad_norm": result.grad_norm}
    if verdict.loss_scale is not None:
        row |= {"loss_scale": verdict.loss_scale, "overflow": int(verdict.overflow)}
    return row if verdict.updates or verdict.overflow else row | {"left_out": 1}


def validation_row(session: Session, state: TrainState) -> dict[str, float | int | str]:
    """Loss, perplexity and bits per byte on the validation windows: of all, and per source."""
    started = time.perf_counter()
    losses = validate(session.runner, session.corpus, session.run, session.mesh)
    seconds = time.perf_counter() - started
    row: dict[str, float | int | str] = {"step": state.step, "tokens": state.tokens, "validation_seconds": seconds}
    for name, score in scores(losses, session.corpus.manifest).items():
        suffix = "" if name == "all" else f"/{name}"
        row[f"loss{suffix}"] = score.loss
        row[f"perplexity{suffix}"] = score.perplexity
        row[f"bits_per_byte{suffix}"] = score.bits_per_byte
    return row
