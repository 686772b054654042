"""Who ended, fell silent or hangs: a line from every rank to rank 0, kept by a thread whatever the rank is doing.

Collectives notice a dead rank late, when they wait for it, or not at all while groups are being formed; then they name
a connection, not a rank; and a rank that hangs they never notice. Here every rank says each BEAT in which phase of
which step it is, rank 0 (watchman.py) tells everyone what is wrong (verdict.py), and who is then still stuck is ended.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from torch._C._distributed_c10d import Store

from pretrain.config.resilience import Resilience
from pretrain.parallel.verdict import DONE, limit_of
from pretrain.parallel.watchman import BEAT, GRACE, HANGING, SETTLE, Watchman
from pretrain.resilience.stragglers import Pace

WAITING = ("/torch/distributed/", "/deepspeed/comm/")
"""Code in which a rank waits for other ranks."""


@dataclass(frozen=True)
class Position:
    """Where a rank is."""

    phase: str
    step: int
    since: float
    """Its own monotonic clock, in seconds."""


class Watch:
    """This rank's line. `end` is called with the verdict when the rank is stuck after it was told."""

    def __init__(
        self,
        store: Store,
        host: str,
        rank: int,
        size: int,
        config: Resilience | None = None,
        end: Callable[[str], None] | None = None,
    ) -> None:
        config = config or Resilience()
        self.watchman = Watchman(size, config.stall, Pace(config.stragglers)) if rank == 0 else None
        """Rank 0's only: its lines break with it."""
        if self.watchman:
            store.set("watch", f"{self.watchman.port} {self.watchman.token}")
        self.end = end or leave
        self.stacks: Path | None = None
        """Where the stacks of all threads are written before this rank is ended; None: to stderr."""
        self.started = False
        """Whether the first step is done: connections were made, kernels compiled."""
        self._limits, self._at = config.stall, Position("start", 0, time.monotonic())
        self._left: Position | None = None
        """Where it was before it entered the phase "end"."""
        self._closed, self._told, self._sending = False, threading.Event(), threading.Lock()
        self._verdict = f"rank 0 of {size} on {host} ended without a word (killed, or out of memory)"
        self._silence = f"rank 0 of {size} on {host} said nothing for {config.stall.silence:g} s (frozen, or gone)"
        port, token = store.get("watch").decode().split()
        self._line = socket.create_connection((host, int(port)), timeout=60)
        self._say({"token": token, "rank": rank, "host": host_name()})
        self._listener = threading.Thread(target=self._listen, name="watch", daemon=True)
        self._listener.start()

    def at(self, phase: str, step: int | None = None) -> None:
        """This rank enters a phase (of the step it is in, where none is given).

        Costs no message: the thread tells it with its next sign of life. A rank stuck in code that lets no other thread
        run is ended by a timer outside Python. Until `started` every phase is "start": first steps are slow.
        """
        step = self._at.step if step is None else step
        if phase == "end" and self._at.phase != "end":
            self._left = self._at
        self._at = Position(phase, step, time.monotonic()) if self.started else replace(self._at, step=step)

    def computed(self, window: int, seconds: float, stage: int) -> None:
        """How long this rank, of a stage of a pipeline, computed in one window of steps."""
        self._say({"window": window, "compute": seconds, "stage": stage})

    def tell(self, error: BaseException) -> None:
        """Say what ended this rank; the others are told. It stays watched until it has ended."""
        at = self._left or self._at  # an error passes through "end" on its way here
        where = {"phase": at.phase, "step": at.step, "seconds": time.monotonic() - at.since}
        self._say({**where, "end": f"{type(error).__name__}: {error}"[:1000]})

    def explain(self, error: BaseException) -> str:
        """What ended the run, after this rank met `error`."""
        self.tell(error)
        self._told.wait(SETTLE + GRACE)
        return f"{self._verdict}; this rank saw {type(error).__name__}"

    def close(self) -> None:
        """This rank ends as it should; with rank 0 the watch is over for all."""
        self._closed = True
        faulthandler.cancel_dump_traceback_later()
        self._say({"end": DONE})
        if self.watchman and not self._told.is_set():
            self._listener.join(GRACE)  # until the others have been told
        self._line.close()

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError), self._sending:  # rank 0 is gone: the listener notices
            self._line.sendall(json.dumps(message).encode() + b"\n")

    def _listen(self) -> None:
        """Tell where this rank is and hear what rank 0 says, until the verdict, a cut or silence."""
        heard, beat, rest, within = time.monotonic(), 0.0, b"", GRACE
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        while True:
            now = time.monotonic()
            if now - beat >= BEAT:
                beat = now
                self._say(self._position())
                self._arm(self._at)
            try:
                data = self._line.recv(4096) if poll.poll(BEAT / 4 * 1000) else None
            except (OSError, ValueError):
                break  # cut, or closed by this rank
            if data == b"":
                break
            if data is None:
                if now - heard > self._limits.silence:
                    self._verdict, within = self._silence, HANGING
                    break
                continue
            heard = now
            *messages, rest = (rest + data).split(b"\n")
            verdicts = [told for told in map(self._answer, map(json.loads, messages)) if told]
            if verdicts:
                self._verdict, within = verdicts[0]
                break
        self._obey(within)

    def _position(self) -> dict[str, Any]:
        at = self._at
        return {"phase": at.phase, "step": at.step, "seconds": time.monotonic() - at.since}

    def _answer(self, message: dict[str, Any]) -> tuple[str, float] | None:
        """(verdict, seconds that this rank has to end by itself); a question is answered."""
        if "ask" in message:
            self._say(self._position() | where_it_stands())
        return (message["verdict"], message["within"]) if "verdict" in message else None

    def _obey(self, within: float) -> None:
        """After the verdict: give this rank the time to end by itself where it can, then end it."""
        if self._closed or self._verdict == DONE:
            return
        self._told.set()
        time.sleep(within)
        if not self._closed:
            self._write_stacks()
            self.end(self._verdict)

    def _arm(self, at: Position) -> None:
        """Set the timer for the case that no Python thread runs any more: stacks to stderr, then an end."""
        if at.phase != "end" and not self._closed:
            left = limit_of(at.phase, self._limits) - (time.monotonic() - at.since)
            with contextlib.suppress(RuntimeError, ValueError, OSError):  # stderr may not be a file
                faulthandler.dump_traceback_later(max(left, BEAT) + 3 * GRACE, exit=True)

    def _write_stacks(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self.stacks is None:
                faulthandler.dump_traceback(all_threads=True)
                return
            self.stacks.parent.mkdir(parents=True, exist_ok=True)
            with open(self.stacks, "w") as file:
                file.write(f"{self._verdict}\n\n")
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)


def leave(verdict: str) -> None:
    """End this process at once: its main thread is stuck."""
    print(f"pretrain: {verdict}; this rank was waiting for it and is ended", file=sys.stderr, flush=True)
    os._exit(1)


def host_name() -> str:
    """This machine as the scheduler calls it."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def where_it_stands() -> dict[str, Any]:
    """The line of the main thread, and whether any thread of this rank waits for other ranks."""
    frames = sys._current_frames()
    main = frames.get(threading.main_thread().ident or 0)
    waits = any(name in path for frame in frames.values() for path in _files(frame) for name in WAITING)
    return {"where": _line(main) if main else "", "waits": waits}


def _files(frame: FrameType | None) -> list[str]:
    files = []
    while frame:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    return files


def _line(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}"
