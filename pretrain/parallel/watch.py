"""Who ended: a line from every rank to rank 0, whose breaking is noticed at once, whatever the rank was doing.

Collectives notice a dead rank late, when they wait for it, or not at all while groups are being formed; and then they
name a connection, not a rank. Here the operating system closes a dead process's line, rank 0 tells everyone who it was,
and a rank that is still stuck some seconds later is ended. Between machines that vanish, TCP keep-alive does the same.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable

from torch._C._distributed_c10d import Store

from pretrain.parallel.rollcall import name_ranks

SETTLE = 1.0
"""Seconds rank 0 collects what others saw before it tells who ended: the cause may be heard after its effects."""
GRACE = 10.0
"""Seconds a rank has to end by itself after it was told."""
DONE = "done"


class Watch:
    """This rank's line. `end` is called when the rank is stuck after another one ended."""

    def __init__(self, store: Store, host: str, rank: int, size: int, end: Callable[[str], None] | None = None):
        if rank == 0:
            server = socket.create_server(("", 0), backlog=size)
            store.set("watch", str(server.getsockname()[1]))
            threading.Thread(target=_serve, args=(server, size), name="watch server", daemon=True).start()
        self._line = socket.create_connection((host, int(store.get("watch"))), timeout=60)
        self._line.settimeout(None)
        _keep_alive(self._line)
        self._end, self._closed, self._told = end or _exit, False, threading.Event()
        self._verdict = f"rank 0 of {size} ended without a word (killed, or out of memory)"
        self._say(str(rank))
        self._serves = rank == 0
        self._listener = threading.Thread(target=self._listen, name="watch", daemon=True)
        self._listener.start()

    def explain(self, error: BaseException) -> str:
        """What ended the run, after this rank met `error`."""
        self._say(f"{type(error).__name__}: {error}")
        self._told.wait(SETTLE + GRACE)
        return f"{self._verdict}; this rank saw {type(error).__name__}"

    def close(self) -> None:
        """This rank ends as it should; with rank 0 the watch is over for all."""
        self._closed = True
        self._say(DONE)
        if self._serves:
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


def _keep_alive(line: socket.socket) -> None:
    """A machine that vanished is noticed after two minutes of silence."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def _serve(server: socket.socket, size: int) -> None:
    """On rank 0: wait for the first failure, give the others time to speak, tell everyone. Or until rank 0 is done."""
    lines: dict[socket.socket, list[str]] = {}
    until: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while until is None or time.monotonic() < until:
            for key, _ in selector.select(timeout=None if until is None else 0.05):
                if key.fileobj is server:
                    line, _address = server.accept()
                    _keep_alive(line)
                    lines[line] = []
                    selector.register(line, selectors.EVENT_READ)
                elif _read(line := key.fileobj, lines):  # type: ignore[arg-type, assignment]
                    selector.unregister(line)
            if until is None and any(_failed(said) for said in lines.values()):
                until = time.monotonic() + SETTLE
            elif until is None and ["0", DONE] in lines.values():
                until = time.monotonic()
    verdict = _verdict(list(lines.values()), size)
    for line in lines:
        with contextlib.suppress(OSError):
            line.sendall(verdict.encode() + b"\n")


CUT = "cut"
"""What stands for the end of a line on which nothing was said."""


def _read(line: socket.socket, lines: dict[socket.socket, list[str]]) -> bool:
    """Take in what a rank said; whether its line has ended."""
    try:
        data = line.recv(65536)
    except OSError:
        data = b""
    said = lines.pop(line)
    lines[line] = said  # the order of the dictionary is that of the last words
    said += data.decode().splitlines()
    if not data and said[-1:] != [DONE]:
        said.append(CUT)
    return not data


def _failed(said: list[str]) -> bool:
    """Whether a rank said more than its number, and not that it is done."""
    return len(said) > 1 and said[1] != DONE


def _verdict(everyone: list[list[str]], size: int) -> str:
    """Ranks whose line was cut first; else the first that said what failed."""
    failed = [said for said in everyone if _failed(said)]
    if not failed:
        return DONE
    cut = sorted(int(said[0]) for said in failed if said[1] == CUT)
    if cut:
        return f"{name_ranks(cut)} of {size} ended without a word (killed, or out of memory)"
    rank, words = failed[0][:2]
    return f"rank {rank} of {size} failed first: {words}"
