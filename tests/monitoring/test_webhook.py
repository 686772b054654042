"""Alerts posted to a server on this machine, which may be slow, broken or gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from pretrain.monitoring import webhook
from pretrain.monitoring.webhook import WebhookSink
from tests.server import Server

ALERT = {"step": 120, "tokens": 7680, "message": "ALERT: loss is 11, above 10", "what": "alert"}
ALERT |= {"rule": "loss above 10"}


@pytest.fixture
def serve() -> Iterator[Any]:
    servers: list[Server] = []

    def start(*arguments: Any) -> Server:
        servers.append(Server(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_an_alert_is_posted(serve: Any) -> None:
    server = serve([200])
    sink = WebhookSink(server.address, "small", timeout=5)
    sink.write("train", {"step": 1, "tokens": 64, "loss": 11.0})
    sink.write("event", {"step": 1, "tokens": 64, "message": "going on"})
    sink.write("event", ALERT)
    sink.close()
    assert server.bodies == [
        {
            "text": "small, step 120: ALERT: loss is 11, above 10",
            "run": "small",
            "rule": "loss above 10",
            "step": 120,
            "tokens": 7680,
        }
    ]


def test_another_attempt(serve: Any) -> None:
    server = serve([503, 500, 200])
    sink = WebhookSink(server.address, "small", timeout=5, pause=0.01)
    sink.write("event", ALERT)
    sink.close()
    assert len(server.bodies) == 3


@pytest.mark.parametrize("gone", [True, False])
def test_failures_are_told_without_the_address(serve: Any, gone: bool, capsys: pytest.CaptureFixture[str]) -> None:
    server = serve([404])
    if gone:
        server.close()
    sink = WebhookSink(server.address, "small", timeout=5, pause=0.01)
    sink.write("event", ALERT)
    sink.close()
    told = capsys.readouterr().err
    assert ("URLError" if gone else "HTTPError 404") in told
    assert "secret" not in told and "127.0.0.1" not in told


def test_nobody_waits_for_a_slow_server(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "FAREWELL", 0.1)
    server = serve([200], 2.0)
    sink = WebhookSink(server.address, "small", timeout=5)
    started = time.monotonic()
    for _ in range(10):
        sink.write("event", ALERT)
    assert time.monotonic() - started < 0.1
    sink.close()
    assert time.monotonic() - started < 1.0
