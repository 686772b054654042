"""Saving: every rank writes its files beside, rank 0 commits them, or nobody does; training goes on meanwhile.

A checkpoint goes through two stages, each of which ends at the first step boundary at which no rank is busy with it:
all ranks copy and write their files; rank 0 renames the directory and removes old ones. Ranks say that they are `busy`
with the votes that travel with the loss, so between steps nothing waits for a disk, and the copy is made beside the
passes of the next step. Without `checkpoint.asynchronous`, and for the last checkpoint of a run, both stages are waited
for at once and nothing is copied.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from pretrain.checkpoint.background import Background
from pretrain.checkpoint.engine import CollectingEngine
from pretrain.checkpoint.files import FileRecord, clean, commit, name_of
from pretrain.checkpoint.rank import Extra, Need, collect
from pretrain.checkpoint.retention import remove_old
from pretrain.checkpoint.snapshot import HostBuffers
from pretrain.checkpoint.space import disk_of, make_room
from pretrain.checkpoint.state import TrainState
from pretrain.config.checkpoint import Checkpoint
from pretrain.config.errors import RunError
from pretrain.parallel.process import World
from pretrain.shards.files import FULL

G = TypeVar("G")


class SaveError(RunError):
    """A checkpoint could not be written; earlier ones are untouched."""


@dataclass(frozen=True)
class Saved:
    """What became of a checkpoint."""

    state: TrainState
    bytes: int
    """Of all ranks' files."""
    blocked_seconds: float
    """Training stood still for it, on this rank."""
    waited_seconds: float
    """Of these, waiting for the disk: at the end, when the next save fell due, or because it was not asynchronous."""
    write_seconds: float
    """From the start of the copy until the files were on the disk, on the slowest rank."""
    error: SaveError | None = None
    """Why it is not there."""

    def row(self) -> dict[str, float | int | str]:
        """As metrics.jsonl has it."""
        return {
            "step": self.state.step,
            "tokens": self.state.tokens,
            "bytes": self.bytes,
            "blocked_seconds": self.blocked_seconds,
            "waited_seconds": self.waited_seconds,
            "write_seconds": self.write_seconds,
        }


@dataclass
class Current:
    """The checkpoint that is being written."""

    state: TrainState
    root: Path
    last: bool
    work: Background[Any] | None = None
    """Of this rank, in the stage that it is in."""
    committing: bool = False
    """The second stage."""
    bytes: int = 0
    blocked: float = 0.0
    waited: float = 0.0
    written: float = 0.0

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """Training stands still inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.blocked += time.perf_counter() - started

    def wait(self) -> None:
        """Until this rank has done its part of the stage."""
        if self.work and self.work.busy:
            started = time.perf_counter()
            self.work.wait()
            self.waited += time.perf_counter() - started


class Part(NamedTuple):
    """What a rank's writing came to."""

    records: list[FileRecord]
    seconds: float
    error: str | None
    full: bool
    """It failed for want of room."""

    @classmethod
    def of(cls, work: Background[list[FileRecord]]) -> Part:
        """After it has ended."""
        full = isinstance(work.error, OSError) and work.error.errno in FULL
        return cls(work.result or [], work.seconds, _words(work.error), full)


class Saver:
    """Saves the checkpoints of one engine, one at a time.

    `extra` writes further files into a checkpoint, on rank 0; they must not change during the run. `report` is told on
    every rank what became of each checkpoint, `say` what a person should read. Leaving the `with` block by an error
    abandons what is being written, and nothing of it becomes visible; by one of `agreed`, which all ranks raise at the
    same step, finishes it.
    """

    def __init__(
        self,
        engine: Any,
        directory: Path,
        config: Checkpoint,
        world: World,
        extra: Extra,
        report: Callable[[Saved], None],
        say: Callable[[TrainState, str], None],
        agreed: tuple[type[Exception], ...] = (),
    ) -> None:
        self._engine, self._directory, self._config, self._world = engine, directory, config, world
        self._extra, self._report, self._say, self._agreed = extra, report, say, agreed
        self._buffers = HostBuffers() if config.asynchronous else None
        self._now: Current | None = None
        self._saves = self._failures = 0
        self._lacked_room = False
        engine.checkpoint_engine = CollectingEngine()
        engine._copy_recovery_script = lambda folder: None  # these scripts unpickle what they are given; see weights.py

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None or issubclass(kind, self._agreed):
            self.finish(tolerant=kind is not None)
        elif self._now:
            self._abandon(self._now)

    @property
    def busy(self) -> bool:
        """Whether this rank still works on a checkpoint. When no rank says so, `settle` may be called."""
        return bool(self._now and self._now.work and self._now.work.busy)

    def save(self, state: TrainState, last: bool = False) -> None:
        """Save `state`, after the checkpoint that is still being written. All ranks call it together.

        Returns when training may go on, up to `hold`; `last`: when the checkpoint is there. Raises SaveError on every
        rank alike when the last one cannot be written, or as many in a row as `checkpoint.failures`.
        """
        self.finish(tolerant=last)
        self._now = now = Current(state, self._directory / (name_of(state.step) + ".tmp"), last)
        with now.blocking():
            error = self._start(now)
        if error:
            self._end(now, error)
        elif last or not self._buffers:
            self.finish()

    def hold(self) -> None:
        """Wait until what is being written no longer depends on the engine: to be called before every update."""
        if self._buffers and self._now:
            with self._now.blocking():
                self._buffers.wait()

    def settle(self, tolerant: bool = False) -> None:
        """Go on with what is being written, now that no rank is busy with it. All ranks call it together.

        Raises SaveError as `save` does; `tolerant`: failures in a row are only told.
        """
        if not (now := self._now):
            return
        with now.blocking():
            over, error = self._after_commit(now) if now.committing else self._after_writing(now)
            if error and self._world.is_writer:
                shutil.rmtree(now.root, ignore_errors=True)
        if over:
            self._end(now, error, tolerant)

    def finish(self, tolerant: bool = False) -> None:
        """Wait until nothing is being written any more. All ranks call it together. Raises SaveError as `settle`."""
        while self._now:
            self._world.at("checkpoint")
            with self._now.blocking():
                self._now.wait()
            self.settle(tolerant)

    def _start(self, now: Current) -> str | None:
        """Begin to copy the state, and to write it; or why that cannot be."""
        share = collect(self._engine, now.root, now.state, self._world, self._extra)
        needs = self._world.gather(share.need())
        now.bytes = sum(need.bytes for need in needs)
        if message := self._world.first(_attempt(lambda: self._prepare(now)) if self._world.is_writer else None):
            return message
        if self._buffers and self._saves == 0 and (lack := _lack_of_memory(needs)):
            self._say(now.state, f"checkpoints are written while training waits: {lack}")
            self._buffers = None
        self._saves += 1
        at_once = now.last or not self._buffers
        still = share.still(None if at_once else self._buffers)
        now.work = Background(still.write, now=at_once)
        now.waited += now.work.seconds if at_once else 0.0
        return None

    def _prepare(self, now: Current) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        clean(self._directory)
        make_room(self._directory, self._config, now.state, now.bytes, anyway=self._lacked_room)
        (now.root / "engine").mkdir(parents=True)

    def _after_writing(self, now: Current) -> tuple[bool, str | None]:
        """Whether the checkpoint's story is over, and why it failed. Else rank 0 commits it."""
        assert now.work is not None
        parts = self._world.gather(Part.of(now.work))
        now.written = max(part.seconds for part in parts)
        self._lacked_room = any(part.full for part in parts)
        if error := next((part.error for part in parts if part.error), None):
            return True, error
        records = [record for part in parts for record in part.records]
        now.bytes, now.committing, now.work = sum(record.bytes for record in records), True, None
        if self._world.is_writer:
            now.work = Background(lambda _: self._commit(now, records), now=now.last or not self._buffers)
        return False, None

    def _commit(self, now: Current, records: list[FileRecord]) -> None:
        commit(now.root, records)
        remove_old(self._directory, self._config)

    def _after_commit(self, now: Current) -> tuple[bool, str | None]:
        return True, self._world.first(_words(now.work.error) if now.work else None)

    def _end(self, now: Current, error: str | None, tolerant: bool = False) -> None:
        self._now = None
        failed = SaveError(f"{name_of(now.state.step)} was not saved: {error}") if error else None
        self._failures = self._failures + 1 if failed else 0
        if failed and now.last:
            raise failed
        if failed and self._failures >= self._config.failures and not tolerant:
            raise SaveError(
                f"{self._failures} checkpoints in a row could not be saved (checkpoint.failures) on "
                f"{disk_of(self._directory)}. The last: {failed}. Earlier checkpoints are whole: make room, start again"
            )
        self._report(Saved(now.state, now.bytes, now.blocked, now.waited, now.written, failed))

    def _abandon(self, now: Current) -> None:
        """Leave nothing behind, as far as that can be done without the others."""
        if now.work:
            now.work.abandon()
        if self._world.is_writer and not self.busy:
            shutil.rmtree(now.root, ignore_errors=True)


def _lack_of_memory(needs: list[Need]) -> str | None:
    """On which machine the copies of its ranks do not fit."""
    wanted: Counter[str] = Counter()
    for need in needs:
        wanted[need.host] += need.bytes
    for need in needs:
        if wanted[need.host] > need.available:
            return f"their copy takes {wanted[need.host]:,} bytes of memory, {need.host} has {need.available:,} left"
    return None


def _attempt(action: Callable[[], object]) -> str | None:
    """Run `action`; its OSError is returned, to be agreed on before anyone stops waiting."""
    try:
        action()
    except OSError as error:
        return str(error)
    return None


def _words(error: Exception | None) -> str | None:
    return None if error is None else str(error) if isinstance(error, OSError) else repr(error)
