"""One run on one rank, from its directory's lock to its last checkpoint."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pretrain.checkpoint.rank import Extra
from pretrain.checkpoint.state import TrainState, layout_words
from pretrain.config.deepspeed import deepspeed_config
from pretrain.config.errors import ConfigError, RunError
from pretrain.config.run import Run
from pretrain.monitoring.alerts import Alerts, Tell
from pretrain.monitoring.closing import closing_table
from pretrain.monitoring.environment import describe_environment, git_commit
from pretrain.monitoring.jsonl import read_rows
from pretrain.monitoring.metrics import Metrics, Row
from pretrain.monitoring.sinks import make_sinks
from pretrain.parallel.process import World
from pretrain.resilience.attempts import read_attempts
from pretrain.resilience.signals import StopFlag
from pretrain.resilience.stop import clear_stop, read_stop
from pretrain.shards.manifest import Manifest
from pretrain.shards.remote import fetch_directory
from pretrain.shards.repetition import repeated
from pretrain.shards.tokenizer import tokenizer_of
from pretrain.training.baselines import ngram_losses
from pretrain.training.directory import RunDirectory, to_yaml
from pretrain.training.health import check_health
from pretrain.training.loop import train_until_done
from pretrain.training.record import Record
from pretrain.training.resume import go_on
from pretrain.training.rollback import roll_back
from pretrain.training.setup import Session, code_directory, open_session, saved_layout
from pretrain.training.spikes import RollBack
from pretrain.training.staging import stage

EXIT = {"finished": 0, "stopped": 0, "saved": os.EX_TEMPFAIL}
"""The exit code of every rank. 75: saved, and there is more to do; start it again."""


def run_training(run: Run, manifest: Manifest, world: World, record: Record) -> int:
    """Train, or go on from the newest whole checkpoint, or say that the run is finished. Returns the exit code."""
    directory = RunDirectory(run)
    with hold(directory, world), StopFlag(directory.path if world.is_writer else None) as stop:
        record.open(directory.path)
        healthy = check_health(world, directory.path, run.resilience.health)
        manifest, staged = stage(run, manifest, world)
        by_writer(world, lambda: tokenizer_of(manifest))  # every checkpoint will hold it
        session, state, messages = go_on(open_session(run, manifest, world), directory)
        messages = healthy + staged + messages
        record.begin(state.step)
        if state.step >= session.total_steps:
            record.ended("finished", "there was nothing more to do")
            _say(world, *messages, f"{run.name} is finished: {state.step:,} steps, {state.tokens:,} tokens")
            return EXIT["finished"]
        metrics = Metrics()
        try:
            _prepare_writer(session, directory, state, messages, metrics)
            while True:
                try:
                    extra = _extra(run, manifest)
                    ended = train_until_done(session, state, metrics, directory.checkpoints, extra, stop, record)
                    break
                except RollBack as wanted:
                    world.at("checkpoint")
                    session, state = roll_back(session, directory, wanted, metrics)
            if ended.outcome == "finished":
                metrics.event(ended.state.step, ended.state.tokens, "finished", what="ended")
        except Exception as error:
            told = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
            tokens = session.plan.tokens_before(record.step)
            metrics.event(record.step, tokens, f"the run ends: {told}", what="ended")
            raise
        finally:
            world.at("end")
            metrics.close()
        record.ended(ended.outcome, ended.reason)
        if world.is_writer:
            clear_stop(directory.path)
    state = ended.state
    if world.is_writer and ended.outcome == "finished":
        _say(world, *closing_table(read_rows(directory.path / "metrics.jsonl")))
    _say(world, f"{run.name}: {state.step:,} steps, {state.tokens:,} tokens; all of it is in {directory.path}")
    return EXIT[ended.outcome]


@contextlib.contextmanager
def hold(directory: RunDirectory, world: World) -> Iterator[None]:
    """The directory's lock, held by rank 0 for all. All ranks raise alike: ConfigError when it is taken, RunError when
    the disk is full.
    """

    def take(stack: contextlib.ExitStack) -> None:
        _lock(directory, stack)
        directory.run_id()
        forget_old_stop(directory.path)

    with contextlib.ExitStack() as stack:
        by_writer(world, lambda: take(stack))
        yield


def by_writer(world: World, do: Callable[[], object]) -> None:
    """Rank 0 does something for all; what it raises (ConfigError or RunError) is raised on every rank."""
    error: ConfigError | RunError | None = None
    if world.is_writer:
        try:
            do()
        except (ConfigError, RunError) as found:
            error = found
    if (told := world.gather(error)[0]) is not None:
        raise told


def _lock(directory: RunDirectory, stack: contextlib.ExitStack) -> None:
    """Take the lock. Waits two seconds for somebody who only looks whether it is held, and a minute for a process that
    no longer beats: its machine may have died with it.
    """
    started = time.monotonic()
    while True:
        try:
            stack.enter_context(directory.locked())
            return
        except ConfigError:
            quiet = time.time() - last_beat(directory.path)
            if time.monotonic() - started > (60 if 10 < quiet < 600 else 2):
                raise
            time.sleep(0.5)


def forget_old_stop(directory: Path) -> None:
    """Take away a request to stop that is older than the last sign of the attempt it was meant for."""
    asked, attempts = read_stop(directory), read_attempts(directory)
    ended = (attempts[-1].ended or 0.0) if attempts else 0.0
    if asked and asked.time <= max(ended, last_beat(directory)):
        clear_stop(directory)


def last_beat(directory: Path) -> float:
    """Unix seconds of heartbeat.json; 0 where there is none."""
    try:
        return float(json.loads((directory / "heartbeat.json").read_bytes())["time"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _prepare_writer(
    session: Session, directory: RunDirectory, state: TrainState, messages: list[str], metrics: Metrics
) -> None:
    """On rank 0, describe the run and open its sinks. Raises RunError on every rank when that fails: nobody waits."""
    error: Exception | None = None
    if session.world.is_writer:
        try:
            _open_metrics(session, directory, state, messages, metrics)
        except Exception as failed:
            error = failed
    if (told := session.world.first(repr(error) if error else None)) is not None:
        raise RunError(f"rank 0 could not start the run's metrics: {told}") from error


def _open_metrics(
    session: Session, directory: RunDirectory, state: TrainState, messages: list[str], metrics: Metrics
) -> None:
    """Open the sinks, after the run directory is described; changes and n-gram lines are told at once."""
    run, world, manifest = session.run, session.world, session.corpus.manifest
    environment = describe_environment(code_directory())
    changes = directory.describe(run, deepspeed_config(run, world.size), environment)
    about = {
        "commit": git_commit(code_directory()),
        "processes": world.size,
        "manifest_fingerprint": manifest.fingerprint(),
        "steps": session.total_steps,
    }
    run_id, total = directory.run_id(), run.train.tokens
    for sink in make_sinks(run, directory.path, run_id, state.step, total, about):
        metrics.add(sink)
    if run.monitoring.alerts:
        metrics.add(Alerts(run.monitoring.alerts, _alert_into(metrics)))
    changed = [f"changed since the last start: {change}" for change in changes]
    for message in [*_about_layout(session), *messages, *changed, *_about_data(session)]:
        metrics.event(state.step, state.tokens, message)
    if run.train.ngram_baselines and state.step == 0:
        metrics.write("baseline", {"step": 0, "tokens": 0, **ngram_losses(session)})


def _alert_into(metrics: Metrics) -> Tell:
    """What a rule finds becomes an event in all sinks."""

    def tell(row: Row, rule: str, message: str) -> None:
        metrics.event(int(row["step"]), int(row["tokens"]), f"ALERT: {message}", what="alert", rule=rule)

    return tell


def _about_layout(session: Session) -> Iterator[str]:
    """Where each rank stands, when there is more than one: a row for each pipe rank, data ranks apart by commas."""
    layout = session.mesh.layout
    if layout.processes > 1:
        yield f"layout {layout_words(saved_layout(layout, session.run))}"
        yield from layout.rank_map()


def _about_data(session: Session) -> Iterator[str]:
    """How often each source will be gone through, and which have no validation loss."""
    names, corpus = session.corpus.sources, session.corpus
    epochs = session.order.epochs(session.plan.batch(session.total_steps)[0])
    yield "epochs of the whole run: " + ", ".join(f"{name} {e:.3g}" for name, e in zip(names, epochs, strict=True) if e)
    yield from repeated(dict(zip(names, epochs, strict=True)))
    for name, stream in zip(names, corpus.validation, strict=True):
        if not stream.samples:
            needed = corpus.sequence_length + 1
            yield f"no validation loss for {name}: it has {stream.tokens:,} tokens, a window needs {needed:,}"


def _extra(run: Run, manifest: Manifest) -> Extra:
    """What a checkpoint holds so that it can be used on its own: the resolved run and the tokenizer."""

    def write(checkpoint: Path) -> None:
        (checkpoint / "run.yaml").write_text(to_yaml(run), encoding="utf-8")
        fetch_directory(manifest.directory / manifest.tokenizer.path, checkpoint / "tokenizer")

    return write


def _say(world: World, *lines: str) -> None:
    if world.is_writer:
        for line in lines:
            print(line, flush=True)
