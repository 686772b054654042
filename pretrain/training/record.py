"""What this attempt at a run leaves for those who look from outside: attempts.jsonl, heartbeat.json, stacks."""

from __future__ import annotations

import os
import queue
import threading
import time
from contextlib import suppress
from pathlib import Path

import orjson

from pretrain.parallel.place import find_launcher
from pretrain.parallel.process import World
from pretrain.parallel.verdict import DONE, Seen
from pretrain.parallel.watch import leave
from pretrain.resilience.attempts import Outcome, begin, end, next_attempt


class Record:
    """Nothing until `open`; then this attempt has a number. Only rank 0 writes."""

    def __init__(self, world: World) -> None:
        self._world, self._directory, self._attempt = world, Path(), 0
        self._beats: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.step = 0
        """Steps done; kept up by the loop, for an end that nobody announces."""

    def open(self, directory: Path) -> None:
        """The run directory is held: number this attempt. All ranks call it together."""
        world, self._directory = self._world, directory
        told = world.first(str(next_attempt(directory)) if world.is_writer else None)
        self._attempt = int(told or 0)
        watch = world.watch
        if watch is None:
            return
        watch.stacks = directory / "logs" / f"stacks-attempt-{self._attempt:03d}.rank-{world.rank:05d}.txt"
        if watch.watchman:
            watch.end, watch.watchman.report = self._end_stuck, self._beat
            threading.Thread(target=self._write_beats, name="heartbeat", daemon=True).start()

    def begin(self, step: int) -> None:
        """All ranks go on from `step`."""
        self.step = step
        if self._world.watch and (watchman := self._world.watch.watchman):
            launcher, job = find_launcher(os.environ)
            where = {"launcher": launcher, "job": job}
            size = self._world.size
            begin(self._directory, self._attempt, **where, hosts=watchman.hosts, processes=size, step=step)

    def ended(self, outcome: Outcome, reason: str = "", bad_hosts: tuple[str, ...] = ()) -> None:
        """Write how the attempt ended; nothing when it was never opened, or on other ranks."""
        if self._attempt and self._world.is_writer:
            end(self._directory, self._attempt, outcome, step=self.step, reason=reason, bad_hosts=bad_hosts)

    def _end_stuck(self, verdict: str) -> None:
        self.ended("failed", verdict)
        leave(verdict)

    def _beat(self, ranks: list[Seen], verdict: str | None, within: float) -> None:
        """Have heartbeat.json replaced, by another thread: a disk that stands still must not silence the watch."""
        pace = self._world.watch and self._world.watch.watchman and self._world.watch.watchman.pace
        alive = [seen for seen in ranks if seen.words != DONE] or ranks
        behind = min(alive, key=lambda seen: (seen.step, seen.since))
        plain = {
            "time": time.time(),
            "attempt": self._attempt,
            "phase": behind.phase,
            "step": behind.step,
            "processes": self._world.size,
            "hosts": list(dict.fromkeys(seen.host for seen in ranks)),
            "slow": [{"rank": slow.rank, "host": slow.host, "ratio": slow.ratio} for slow in pace.slow] if pace else [],
            "verdict": verdict,
            "ends_within": within,
        }
        self._beats.put(orjson.dumps(plain, option=orjson.OPT_INDENT_2))

    def _write_beats(self) -> None:
        """Write the newest, for ever. A reader sees the old file or the new one, whole."""
        path = self._directory / "heartbeat.json"
        while True:
            content = self._beats.get()
            while not self._beats.empty():
                content = self._beats.get()
            with suppress(OSError):  # a full disk does not stop the watch
                path.with_suffix(".tmp").write_bytes(content)
                os.replace(path.with_suffix(".tmp"), path)
