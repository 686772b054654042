"""On rank 0: the ends of all ranks' lines, read by one thread that finds out who died, fell silent or hangs."""

from __future__ import annotations

import contextlib
import json
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, cast

from pretrain.config.resilience import Stall
from pretrain.parallel.verdict import CUT, DONE, Seen, ended, hanging, silent, stalled
from pretrain.resilience.stragglers import Pace, Told

BEAT = 2.0
"""Seconds between two signs of life, in both directions."""
LOOK = 0.2
"""Seconds between two judgements while nobody ends."""
SETTLE = 1.0
"""Seconds in which others are heard before it is told who ended: the cause may be heard after its effects."""

GRACE = 10.0
"""Seconds a rank has to end by itself after it was told that another one did: what waits for that one fails."""
HANGING = 1.0
"""The same where nothing fails by itself."""

Report = Callable[[list[Seen], str | None, float], None]
"""Called every BEAT with all ranks, and with the verdict once there is one and the seconds that they have to end."""


class Watchman:
    """Who does not begin with the token is not heard."""

    def __init__(self, size: int, limits: Stall, pace: Pace | None = None) -> None:
        self.size, self.limits, self.token, self.pace = size, limits, secrets.token_hex(8), pace
        self._server = socket.create_server(("", 0), backlog=size)
        self.port: int = self._server.getsockname()[1]
        self.report: Report | None = None
        self._lines: dict[socket.socket, bytes] = {}
        self._ranks: dict[socket.socket, Seen] = {}
        self._ended: list[Seen] = []
        self.thread = threading.Thread(target=self._serve, name="watchman", daemon=True)
        self.thread.start()

    @property
    def hosts(self) -> list[str]:
        """The machines of all ranks, in the order of ranks."""
        return list(dict.fromkeys(seen.host for seen in sorted(self._ranks.values(), key=lambda seen: seen.rank)))

    def _serve(self) -> None:
        """Watch until something is wrong or rank 0 is done; then tell everyone."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            verdict, within, judged, beat = None, GRACE, 0.0, 0.0
            while verdict is None:
                try:
                    self._hear(selector, LOOK)
                    now = time.monotonic()
                    if self._ended or now - judged >= LOOK:  # with many ranks something comes all the time
                        judged, (verdict, within) = now, self._judge(selector)
                    if now - beat >= BEAT:
                        beat = now
                        self._tell({"alive": True})
                        self._show(None, within)
                except Exception as error:  # the run must not depend on the watch being without fault
                    print(f"watchman: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                    time.sleep(LOOK)
        if verdict != DONE:
            self._show(verdict, within)
        self._tell({"verdict": verdict, "within": within})

    def _judge(self, selector: selectors.BaseSelector) -> tuple[str | None, float]:
        """(what went wrong, seconds that ranks have to end by themselves), after giving all of them time to speak."""
        now, ranks = time.monotonic(), list(self._ranks.values())
        if ended(self._ended, self.size):
            self._listen_on(selector)
            return ended(self._ended, self.size), GRACE
        if any(seen.rank == 0 for seen in self._ended):
            return DONE, GRACE
        if lost := silent(ranks, self.size, now, self.limits):
            return lost, HANGING
        if stalled(ranks, now, self.limits):
            self._tell({"ask": "where"})
            self._listen_on(selector)
            if verdict := ended(self._ended, self.size):
                return verdict, GRACE
            return hanging(ranks, self.size, time.monotonic(), self.limits), HANGING
        return None, GRACE

    def _listen_on(self, selector: selectors.BaseSelector) -> None:
        until = time.monotonic() + SETTLE
        while time.monotonic() < until:
            self._hear(selector, 0.05)

    def _hear(self, selector: selectors.BaseSelector, timeout: float) -> None:
        for key, _ in selector.select(timeout):
            if key.fileobj is self._server:
                line, _address = self._server.accept()
                self._lines[line] = b""
                selector.register(line, selectors.EVENT_READ)
            elif self._is_cut(line := cast(socket.socket, key.fileobj)):
                selector.unregister(line)

    def _is_cut(self, line: socket.socket) -> bool:
        """Take in what came on a line; whether it is over."""
        try:
            data = line.recv(65536)
        except OSError:
            data = b""
        *messages, rest = (self._lines[line] + data).split(b"\n")
        self._lines[line] = rest[:4096]
        for message in messages:
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):  # a stranger's
                self._take(line, json.loads(message))
        if not data and (seen := self._ranks.get(line)):
            self._end(seen, CUT)
        return not data

    def _take(self, line: socket.socket, message: dict[str, Any]) -> None:
        now = time.monotonic()
        if message.get("token") == self.token:
            self._ranks[line] = Seen(int(message["rank"]), str(message["host"]), now, since=now)
        seen = self._ranks[line]
        seen.heard = now
        if "phase" in message and seen.words is None:  # after its last words it only ends
            seen.phase, seen.step, seen.since = message["phase"], message["step"], now - message["seconds"]
        if "where" in message:
            seen.where, seen.waits = message["where"], message["waits"]
        if "window" in message and self.pace:
            told = Told(seen.rank, seen.host, message["stage"], message["compute"])
            self.pace.add(message["window"], told, self.size)
        if "end" in message:
            self._end(seen, message["end"])

    def _end(self, seen: Seen, words: str) -> None:
        if seen.words is None:
            seen.words = words
            self._ended.append(seen)

    def _show(self, verdict: str | None, within: float) -> None:
        if self.report:
            with contextlib.suppress(OSError):  # a full disk does not stop the watch
                self.report(sorted(self._ranks.values(), key=lambda seen: seen.rank), verdict, within)

    def _tell(self, message: dict[str, Any]) -> None:
        words = json.dumps(message).encode() + b"\n"
        for line in self._ranks:
            with contextlib.suppress(OSError):
                line.sendall(words, socket.MSG_DONTWAIT)
