"""Requests to stop."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pretrain.resilience.signals import StopFlag
from pretrain.resilience.stop import request_stop


@pytest.mark.parametrize(
    ("number", "then"), [(signal.SIGTERM, "requeue"), (signal.SIGUSR1, "requeue"), (signal.SIGINT, "end")]
)
def test_a_signal_is_a_request(number: signal.Signals, then: str) -> None:
    before = signal.getsignal(number)
    with StopFlag() as stop:
        assert stop.look() is None
        os.kill(os.getpid(), number)
        assert stop.request and (stop.request.why, stop.request.then) == (number.name, then)
    assert signal.getsignal(number) == before


def test_a_wish_to_end_outlives_a_wish_to_go_on() -> None:
    with StopFlag() as stop:
        for number, then in [(signal.SIGTERM, "requeue"), (signal.SIGINT, "end"), (signal.SIGTERM, "end")]:
            os.kill(os.getpid(), number)
            assert stop.request and stop.request.then == then


def test_a_second_interrupt_ends_at_once() -> None:
    with StopFlag(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_file_is_a_request(tmp_path: Path) -> None:
    with StopFlag(tmp_path) as stop:
        assert stop.look() is None
        request_stop(tmp_path, "maintenance", "requeue")
        stop._looked = 0.0
        asked = stop.look()
    assert asked and (asked.why, asked.then) == ("maintenance", "requeue")


def test_after_an_error_the_launcher_cannot_cut_it_short() -> None:
    """torchrun sends SIGTERM to the others when a rank dies; they have still to say who it was."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    try:
        with pytest.raises(ValueError), StopFlag():
            raise ValueError
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) == before[signal.SIGINT]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
