"""The training loop: steps, validations and checkpoints until the tokens are seen or a signal comes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pretrain.checkpoint.rank import Extra
from pretrain.checkpoint.save import Saved, Saver
from pretrain.checkpoint.state import TrainState
from pretrain.config.units import Interval
from pretrain.data.loader import Loader
from pretrain.data.order import extend_hash
from pretrain.monitoring.metrics import Metrics
from pretrain.monitoring.throughput import Meter, peak_memory_bytes
from pretrain.resilience.attempts import Outcome
from pretrain.resilience.signals import StopFlag
from pretrain.resilience.spikes import History
from pretrain.training.pace import PaceKeeper
from pretrain.training.record import Record
from pretrain.training.schedule import learning_rate
from pretrain.training.setup import Session
from pretrain.training.spikes import RollBack, describe, make_judge, told
from pretrain.training.step import DivergedError, StepResult, train_step
from pretrain.training.validation import scores, validate


@dataclass(frozen=True)
class Ended:
    """Where training ended, and why."""

    state: TrainState
    """The state reached, which is saved."""
    outcome: Outcome
    """finished; saved: there is more to do; stopped: so a person wished."""
    reason: str = ""


def train_until_done(
    session: Session,
    state: TrainState,
    metrics: Metrics,
    checkpoints: Path,
    extra: Extra,
    stop: StopFlag,
    record: Record,
) -> Ended:
    """Train from `state` to the last step, or to the step after a request to stop, and save.

    Raises DivergedError when a spike or a loss that is no number stops the run, RollBack when it asks for an earlier
    checkpoint, SaveError when the last checkpoint cannot be written.
    """
    run, world = session.run, session.world
    meter, pace = Meter(run, world.size, world.device), PaceKeeper(session)
    steps = range(state.step, session.total_steps)
    validate_clock, save_clock = Clock(run.train.validate_every), Clock(run.checkpoint.every)
    with _loader(session, steps) as loader, _saver(session, metrics, checkpoints, extra) as saver:
        for step in steps:
            started = time.perf_counter()
            world.at("data", step + 1)
            asked = stop.look()
            clocks = [validate_clock.rings(world.is_writer), save_clock.rings(world.is_writer)]
            votes = [asked is not None and asked.then == then for then in ("end", "requeue")] + [*clocks, saver.busy]
            result = _step(session, state, loader, votes, checkpoints)
            world.started()
            before, state = state, advance(session, state, result.verdict.history)
            end, requeue, validate_now, save_now, writing = result.votes
            stopping, last, record.step = end or requeue, step == steps[-1], state.step
            for message in told(session, state, result):
                metrics.event(state.step, state.tokens, message)
            if (state.step % run.monitoring.log_every == 0 or last) and math.isfinite(result.losses.mean):
                metrics.write("train", train_row(session, state, result, meter, time.perf_counter() - started))
            for message in pace.after(state.step):
                metrics.event(state.step, state.tokens, message)
            if validate_clock.due(before, state) or validate_now or last:
                world.at("validation")
                metrics.write("validation", validation_row(session, state))
                validate_clock.restart()
            if stopping and not last:
                reason = asked.why if asked else "a signal to another rank"
                metrics.event(state.step, state.tokens, f"{reason}: saving and ending")
            if save_clock.due(before, state) or save_now or stopping or last:
                world.at("checkpoint")
                metrics.flush()
                saver.save(state, last=stopping or last)
                save_clock.restart()
            elif not writing:
                saver.settle()
            if stopping and not last:
                return Ended(state, "stopped" if end else "saved", reason)
    return Ended(state, "finished")


def _loader(session: Session, steps: range) -> Loader:
    """The micro-batches of this rank; none where the pipeline needs none."""
    run, mesh = session.run, session.mesh
    needed = steps if session.runner.reads else range(0)
    rank, ranks = mesh.at.data, mesh.layout.data
    return Loader(
        session.corpus, session.order, needed, run.batch.micro_batch_size, rank, ranks, run.data.prefetch
    )  # fmt: skip


def advance(session: Session, state: TrainState, history: History) -> TrainState:
    """The state after the step that follows `state`; `history` is what judging the one after it depends on."""
    plan = session.plan
    samples = sum(plan.batch(state.step))
    return replace(
        state,
        step=state.step + 1,
        samples=samples,
        tokens=samples * plan.sequence_length,
        order_hash=extend_hash(state.order_hash, session.order.step(state.step)),
        spikes=history.plain(),
    )


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
        "first_sample": session.plan.order_index(np.array([first])).item(),
        "loss": losses.mean,
        **{f"loss/{name}": loss for name, loss in losses.per_source(names).items()},
        "grad_norm": result.grad_norm,
        **({} if result.verdict.updates else {"left_out": 1}),
        "learning_rate": learning_rate(session.run, state.tokens),
        "batch_tokens": tokens,
        **{f"batch_tokens/{name}": count for name, count in zip(names, losses.tokens, strict=True) if count},
        "step_seconds": seconds,
        "data_seconds": result.data_seconds,
        "tokens_per_second": speed.tokens_per_second,
        "tflops": speed.tflops,
        "mfu": speed.mfu,
        "memory_bytes": peak_memory_bytes(session.world.device),
    }


def validation_row(session: Session, state: TrainState) -> dict[str, float | int | str]:
    """Loss, perplexity and bits per byte on the validation windows: of all, and per source."""
    losses = validate(session.runner, session.corpus, session.run, session.mesh)
    row: dict[str, float | int | str] = {"step": state.step, "tokens": state.tokens}
    for name, score in scores(losses, session.corpus.manifest).items():
        suffix = "" if name == "all" else f"/{name}"
        row[f"loss{suffix}"] = score.loss
        row[f"perplexity{suffix}"] = score.perplexity
        row[f"bits_per_byte{suffix}"] = score.bits_per_byte
    return row


class Clock:
    """Whether an Interval is over: by steps or tokens computed, by seconds counted since the last restart."""

    def __init__(self, interval: Interval | None) -> None:
        self._interval = interval
        self._started = time.monotonic()

    def due(self, before: TrainState, now: TrainState) -> bool:
        """Whether a multiple of the interval was reached between two states; a pure function of them."""
        if self._interval is None or self._interval.unit == "seconds":
            return False
        unit, amount = ("step" if self._interval.unit == "steps" else "tokens"), self._interval.amount
        return int(getattr(now, unit) // amount) > int(getattr(before, unit) // amount)

    def rings(self, mine: bool) -> bool:
        """Whether the seconds are over. Only the rank whose clock counts (`mine`) says so; the others are told."""
        if not mine or self._interval is None or self._interval.unit != "seconds":
            return False
        return time.monotonic() - self._started >= self._interval.amount

    def restart(self) -> None:
        """Count seconds from now."""
        self._started = time.monotonic()


def _step(session: Session, state: TrainState, loader: Loader, votes: list[bool], checkpoints: Path) -> StepResult:
    step = state.step
    rate = learning_rate(session.run, session.plan.tokens_before(step + 1))
    result = train_step(
        session.runner,
        loader,
        session.micro_batches(step),
        session.targets(step),
        len(session.corpus.sources),
        session.mesh,
        rate,
        votes,
        make_judge(session, state),
    )
    verdict = result.verdict
    if verdict.finding is None or verdict.action in ("record", "skip"):
        return result
    message = describe(session, step, result)
    if verdict.action == "rollback":
        raise RollBack(step, verdict.finding, message)
    raise DivergedError(
        f"{message}. {verdict.note + '. ' if verdict.note else ''}The learning rate is {rate:.3g}. "
        f"The checkpoints in {checkpoints} are from before; should the newest end the same way, move it away "
        f"to go on from an earlier one. Lower optimizer.learning_rate, leave these samples out with data.skip, or let "
        f"the run do so: resilience.spikes.{'spike' if verdict.finding.is_number else 'nan'}: rollback"
    )


def _saver(session: Session, metrics: Metrics, directory: Path, extra: Extra) -> Saver:
    """Saves this session's checkpoints; what becomes of them goes into the metrics."""

    def say(state: TrainState, message: str) -> None:
        metrics.event(state.step, state.tokens, message)

    def report(saved: Saved) -> None:
        if saved.error:
            say(saved.state, f"CHECKPOINT FAILED, training goes on: {saved.error}")
        else:
            metrics.write("checkpoint", saved.row())

    agreed = (DivergedError, RollBack)  # what is being written is from before them, and whole
    return Saver(session.engine, directory, session.run.checkpoint, session.world, extra, report, say, agreed)
