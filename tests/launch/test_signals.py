"""A terminal that goes away, and requests that cannot be written at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.launch.fakes import ends, send, start_supervisor, wait_for


def test_a_terminal_that_goes_away_does_not_end_it_unsaved(tmp_path: Path) -> None:
    """An ssh that is cut: SIGHUP, and a terminal that cannot be written to."""
    directory, (outer, inner) = tmp_path / "run", os.openpty()
    process = start_supervisor(directory, ["obey"], stdout=inner)
    os.close(inner)
    wait_for(lambda: (directory / "heartbeat.json").exists())
    os.close(outer)
    send(process, signal.SIGHUP)
    assert process.wait(20) == 0
    assert ends(directory) == [(1, "stopped", "SIGHUP")]


def test_a_reader_that_has_enough_does_not_end_it(tmp_path: Path) -> None:
    """`pretrain launch ... | head`: the run goes on, unheard."""
    directory, (reader, writer) = tmp_path / "run", os.pipe()
    process = start_supervisor(directory, ["die", "finish"], stdout=writer)
    os.close(writer)
    os.close(reader)
    assert process.wait(20) == 0
    assert [outcome for _, outcome, _ in ends(directory)] == ["lost", "finished"]


def test_a_request_waits_for_room_on_the_disk(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    (directory / "stop.tmp").mkdir(parents=True)  # in the way of the request
    process = start_supervisor(directory, ["obey"])
    wait_for(lambda: (directory / "heartbeat.json").exists())
    send(process, signal.SIGTERM)
    time.sleep(1)
    assert process.poll() is None and not (directory / "stop").exists()
    (directory / "stop.tmp").rmdir()
    assert process.wait(20) == 0
    assert ends(directory) == [(1, "stopped", "SIGTERM")]
