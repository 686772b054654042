"""The training loop: steps, validations and checkpoints until the tokens are seen or a signal comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pretrain.checkpoint.rank import Extra
from pretrain.checkpoint.save import Saved, Saver
from pretrain.checkpoint.state import TrainState
from pretrain.data.batch import Batch
from pretrain.data.loader import Loader
from pretrain.data.order import extend_hash
from pretrain.monitoring.metrics import Metrics
from pretrain.parallel.process import World
from pretrain.resilience.attempts import Outcome
from pretrain.resilience.signals import StopFlag
from pretrain.resilience.spikes import History
from pretrain.resilience.stop import StopRequest
from pretrain.training.clock import Clocks
from pretrain.training.record import Record
from pretrain.training.rows import Teller, validation_row
from pretrain.training.schedule import learning_rate
from pretrain.training.setup import Session
from pretrain.training.share import shared_steps
from pretrain.training.spikes import RollBack, advice, describe, make_judge
from pretrain.training.step import DivergedError, Judge, StepResult, numbers_only, train_step


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
    world, steps = session.world, range(state.step, session.total_steps)
    clocks = Clocks(session.run)
    with (
        Teller(session, metrics) as teller,
        open_loader(session, steps) as loader,
        _saver(session, metrics, checkpoints, extra) as saver,
    ):
        batches = open_batches(session, steps, loader)
        for step in steps:
            stepping = teller.begin(state)
            world.at("data", step + 1)
            asked = stop.look()
            result = _step(stepping, state, batches, saver, _votes(asked, clocks, saver, world), checkpoints)
            world.started()
            before, state = state, advance(session, state, result.verdict.history)
            agreed, last, record.step = Agreed(*result.votes), step == steps[-1], state.step
            teller.step(state, result, last)
            if clocks.validate.due(before, state) or agreed.validate or last:
                world.at("validation")
                metrics.write("validation", validation_row(session, state))
                clocks.validate.restart()
            if clocks.save.due(before, state) or agreed.save or agreed.stops or last:
                reason = teller.stop(state, asked) if agreed.stops and not last else ""
                world.at("checkpoint")
                metrics.flush()
                saver.save(state, last=agreed.stops or last)
                clocks.save.restart()
                if agreed.stops and not last:
                    return Ended(state, "stopped" if agreed.end else "saved", reason)
            elif not agreed.writing:
                saver.settle()
    return Ended(state, "finished")


class Agreed(NamedTuple):
    """For each thing that ranks vote on, whether any of them voted so."""

    end: bool
    """Save and end; a person wishes so."""
    requeue: bool
    """Save and end; there is more to do."""
    validate: bool
    save: bool
    writing: bool
    """A checkpoint is still being written."""

    @property
    def stops(self) -> bool:
        """Whether this step is the last one here."""
        return self.end or self.requeue


def _votes(asked: StopRequest | None, clocks: Clocks, saver: Saver, world: World) -> list[bool]:
    """What this rank votes, in the order of Agreed."""
    then = asked.then if asked else ""
    rings = clocks.validate.rings(world.is_writer), clocks.save.rings(world.is_writer)
    return [then == "end", then == "requeue", *rings, saver.busy]


def open_loader(session: Session, steps: range) -> Loader:
    """The micro-batches that this rank reads; none where the pipeline needs none, or another rank reads them."""
    run, mesh = session.run, session.mesh
    needed = steps if session.runner.reads and mesh.is_first_of_tensor else range(0)
    rank, ranks = mesh.at.data, mesh.layout.data
    return Loader(
        session.corpus, session.order, needed, run.batch.micro_batch_size, rank, ranks, run.data.prefetch
    )  # fmt: skip


def open_batches(session: Session, steps: range, loader: Loader) -> Iterator[Batch]:
    """The micro-batches that this rank is fed."""
    numbers = (session.micro_batches(step) if session.runner.reads else 0 for step in steps)
    return shared_steps(loader, numbers, session.run.batch.micro_batch_size, session.corpus, session.mesh)


def advance(session: Session, state: TrainState, history: History) -> TrainState:
    """The state after the step that follows `state`; `history` is what judging the one after it depends on."""
    plan = session.plan
    samples = sum(plan.batch(state.step))
    return replace(
        state,
        step=state.step + 1,
        samples=samples,
        tokens=samples * plan.sequence_length,
        served={
            name: number * plan.sequence_length
            for name, number in zip(plan.sources, session.order.served(samples), strict=True)
        },
        order_hash=extend_hash(state.order_hash, session.order.step(state.step)),
        spikes=history.plain(),
    )


def run_step(
    session: Session,
    step: int,
    batches: Iterator[Batch],
    votes: list[bool],
    judge: Judge = numbers_only,
    hold: Callable[[], None] = lambda: None,
) -> StepResult:
    """`train_step` for the step after `step` steps of the session's run, with what follows from its plan."""
    return train_step(
        session.runner,
        batches,
        session.micro_batches(step),
        session.targets(step),
        len(session.corpus.sources),
        session.mesh,
        learning_rate(session.run, session.plan.tokens_before(step + 1)),
        votes,
        judge,
        hold,
    )


def _step(
    session: Session, state: TrainState, batches: Iterator[Batch], saver: Saver, votes: list[bool], checkpoints: Path
) -> StepResult:
    step = state.step
    result = run_step(session, step, batches, votes, make_judge(session, state), saver.hold)
    verdict = result.verdict
    if verdict.finding is None or verdict.action in ("record", "skip"):
        return result
    message = describe(session, step, result)
    if verdict.action == "rollback":
        raise RollBack(step, verdict.finding, message)
    rate = learning_rate(session.run, session.plan.tokens_before(step + 1))
    raise DivergedError(
        f"{message}. {verdict.note + '. ' if verdict.note else ''}The learning rate is {rate:.3g}. "
        f"The checkpoints in {checkpoints} are from before; should the newest end the same way, move it away "
        f"to go on from an earlier one. {advice(session, verdict)}"
    )


def _saver(session: Session, metrics: Metrics, directory: Path, extra: Extra) -> Saver:
    """Saves this session's checkpoints; what becomes of them goes into the metrics."""

    def say(state: TrainState, message: str, **more: str) -> None:
        metrics.event(state.step, state.tokens, message, **more)

    def report(saved: Saved) -> None:
        if saved.error:
            say(saved.state, f"CHECKPOINT FAILED, training goes on: {saved.error}", what="checkpoint_failed")
        else:
            metrics.write("checkpoint", saved.row())

    agreed = (DivergedError, RollBack)  # what is being written is from before them, and whole
    return Saver(session.engine, directory, session.run.checkpoint, session.world, extra, report, say, agreed)
