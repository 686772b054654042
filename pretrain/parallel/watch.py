"""Who ended: a line from every rank to rank 0, whose breaking is noticed at once, whatever the rank was doing.

Collectives notice a dead rank late, when they wait for it, or not at all while groups are being formed; and then they
name a connection, not a rank. Here the operating system closes a dead process's line, rank 0 tells everyone who it was,
and a rank that is still stuck some seconds later is ended. Between machines that vanish, TCP keep-alive does the same.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import cast

from torch._C._distributed_c10d import Store

from pretrain.parallel.rollcall import name_ranks

SETTLE = 1.0
"""Seconds rank 0 collects what others saw before it tells who ended: the cause may be heard after its effects."""
GRACE = 10.0
"""Seconds a rank has to end by itself after it was told."""
DONE = "done"


class Watch:
    """This rank's line. `end` is called when the rank is stuck after another one ended."""

    def __init__(self, store: Store, host: str, rank: int, size: int, end: Callable[[str], None] | None = None) -> None:
        if rank == 0:
            self._server = Server(size)  # kept: its lines break with it
            store.set("watch", f"{self._server.port} {self._server.token}")
        port, token = store.get("watch").decode().split()
        self._line = socket.create_connection((host, int(port)), timeout=60)
        self._line.settimeout(None)
        keep_alive(self._line)
        self._end, self._closed, self._told = end or _exit, False, threading.Event()
        self._serves = rank == 0
        self._verdict = f"rank 0 of {size} ended without a word (killed, or out of memory)"
        self._say(f"{token} {rank}")
        self._listener = threading.Thread(target=self._listen, name="watch", daemon=True)
        self._listener.start()

    def tell(self, error: BaseException) -> None:
        """Say what ended this rank; the others are told. It stays watched until it has ended."""
        self._say(f"{type(error).__name__}: {error}")

    def explain(self, error: BaseException) -> str:
        """What ended the run, after this rank met `error`."""
        self.tell(error)
        self._told.wait(SETTLE + GRACE)
        return f"{self._verdict}; this rank saw {type(error).__name__}"

    def close(self) -> None:
        """This rank ends as it should; with rank 0 the watch is over for all."""
        self._closed = True
        self._say(DONE)
        if self._serves and not self._told.is_set():
            self._listener.join(GRACE)  # until the others have been told
        self._line.close()

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # rank 0 is gone: the listener notices
            self._line.sendall(text.replace("\n", " ")[:1000].encode() + b"\n")

    def _listen(self) -> None:
        heard = b""
        with contextlib.suppress(OSError):
            while not heard.endswith(b"\n") and (more := self._line.recv(4096)):
                heard += more
        if heard.endswith(b"\n"):
            self._verdict = heard.decode().strip()
        if self._closed or self._verdict == DONE:
            return
        self._told.set()
        time.sleep(GRACE)
        if not self._closed:
            self._end(self._verdict)


def _exit(verdict: str) -> None:
    print(f"pretrain: {verdict}; this rank was waiting for it and is ended", file=sys.stderr, flush=True)
    os._exit(1)


def keep_alive(line: socket.socket) -> None:
    """A machine that vanished is noticed after two minutes of silence."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


class Server:
    """On rank 0: the ends of all lines, heard by one thread. Who does not begin with the token is not heard."""

    def __init__(self, size: int) -> None:
        self.size, self.token = size, secrets.token_hex(8)
        self._server = socket.create_server(("", 0), backlog=size)
        self.port: int = self._server.getsockname()[1]
        self._lines: dict[socket.socket, bytes] = {}
        self._ended: list[Ended] = []
        threading.Thread(target=self._serve, name="watch server", daemon=True).start()

    def _serve(self) -> None:
        """Wait for the first failure, give the others time to speak, tell everyone. Or until rank 0 is done."""
        until: float | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            while until is None or time.monotonic() < until:
                for key, _ in selector.select(timeout=None if until is None else 0.05):
                    if key.fileobj is self._server:
                        line, _address = self._server.accept()
                        keep_alive(line)
                        self._lines[line] = b""
                        selector.register(line, selectors.EVENT_READ)
                    elif self._has_ended(line := cast(socket.socket, key.fileobj)):
                        selector.unregister(line)
                if until is None and any(words != DONE for _, words in self._ended):
                    until = time.monotonic() + SETTLE
                elif until is None and (0, DONE) in self._ended:
                    until = time.monotonic()
        told = verdict(self._ended, self.size)
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.sendall(told.encode() + b"\n")

    def _has_ended(self, line: socket.socket) -> bool:
        """Take in what came on a line; whether it is cut. Its rank's first words, or the cut, are how it ended."""
        try:
            data = line.recv(65536)
        except OSError:
            data = b""
        self._lines[line] = said = (self._lines[line] + data)[:4096]
        first, *rest = said.decode(errors="replace").split("\n")
        token, _, rank = first.partition(" ")
        if token == self.token and rank.isdigit() and int(rank) not in [ended for ended, _ in self._ended]:
            if len(rest) > 1:  # the last piece is not a whole line yet
                self._ended.append((int(rank), rest[0]))
            elif not data:
                self._ended.append((int(rank), CUT))
        return not data


Ended = tuple[int, str]
"""A rank and its last words, in the order in which they were heard."""
CUT = "cut"
"""What stands for the words of a rank that said nothing."""


def verdict(ended: list[Ended], size: int) -> str:
    """Ranks whose lines were cut; else the first that said what failed; DONE where nothing did."""
    failed = [(rank, words) for rank, words in ended if words != DONE]
    cut = sorted(rank for rank, words in failed if words == CUT)
    if cut:
        return f"{name_ranks(cut)} of {size} ended without a word (killed, or out of memory)"
    return f"rank {failed[0][0]} of {size} failed first: {failed[0][1]}" if failed else DONE
