"""Posts alerts as JSON to an address, from a thread of its own: training never waits for it, and never fails by it."""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
import urllib.request

from pretrain.monitoring.metrics import Kind, Row

ATTEMPTS = 3
"""How often an alert is posted that was not taken."""
FAREWELL = 15.0
"""Seconds for which the end of a run waits for its last alerts."""


class WebhookSink:
    """{"text", "run", "rule", "step", "tokens"}; `text` is what chat services such as Slack show.

    The address is a secret. It is in no message, whatever goes wrong.
    """

    def __init__(self, address: str, run: str, timeout: float, pause: float = 2.0) -> None:
        """`pause`: seconds before another attempt, twice as many before the one after."""
        self._address, self._run, self._timeout, self._pause = address, run, timeout, pause
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, name="webhook", daemon=True)
        self._thread.start()

    def write(self, kind: Kind, row: Row) -> None:
        """Hand an alert to the thread."""
        if kind == "event" and row.get("what") == "alert":
            about = {"run": self._run, "rule": row["rule"], "step": row["step"], "tokens": row["tokens"]}
            text = f"{self._run}, step {row['step']}: {row['message']}"
            self._waiting.put(json.dumps({"text": text, **about}).encode())

    def flush(self) -> None:
        """Nothing waits for the network."""

    def rewind(self, step: int) -> None:
        """What was told stays told."""

    def close(self) -> None:
        """Wait a little for what is still to be sent."""
        self._waiting.put(None)
        self._thread.join(FAREWELL)

    def _send_all(self) -> None:
        while (body := self._waiting.get()) is not None:
            if (error := self._send(body)) is not None:
                print(f"metrics: an alert did not reach the webhook: {error}", file=sys.stderr, flush=True)

    def _send(self, body: bytes) -> str | None:
        """Why it could not be sent, in words without the address."""
        error = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1))
            try:
                self._post(body)
                return None
            except Exception as failed:  # whatever it is, the run goes on
                error = f"{type(failed).__name__} {getattr(failed, 'code', '')}".strip()
        return error

    def _post(self, body: bytes) -> None:
        request = urllib.request.Request(self._address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=self._timeout):
            pass
