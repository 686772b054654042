"""Ranks that never start are named."""

from __future__ import annotations

import socket
import threading
from datetime import timedelta

import pytest

from pretrain.config.errors import RunError
from pretrain.parallel.rollcall import await_everyone, name_ranks, open_store
from tests.processes import free_port

SOON = timedelta(seconds=1)


@pytest.fixture
def place() -> dict[str, str]:
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}


def test_ranks_that_never_start_are_named(place: dict[str, str]) -> None:
    store = open_store(place, 0, SOON)
    second = threading.Thread(target=lambda: open_store(place, 2, SOON).set("arrived/2", ""))
    second.start()
    second.join()
    with pytest.raises(RunError, match="ranks 1, 3 of 4 did not start within 1 s"):
        await_everyone(store, 0, 4, SOON)


def test_nobody_serves(place: dict[str, str]) -> None:
    with pytest.raises(RunError, match=r"rank 1 found nobody at 127\.0\.0\.1"):
        open_store(place, 1, SOON)


def test_the_port_is_taken(place: dict[str, str]) -> None:
    with (
        socket.create_server(("0.0.0.0", int(place["MASTER_PORT"]))),
        pytest.raises(RunError, match=r"rank 0 cannot listen at port \d+ of 127\.0\.0\.1, .*address already in use"),
    ):
        open_store(place, 0, SOON)


def test_names() -> None:
    assert name_ranks([3]) == "rank 3"
    assert name_ranks(list(range(40))) == "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 32 more"
