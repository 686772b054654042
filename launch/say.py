"""What the supervisor says on its terminal, which may be gone before it: a closed ssh, a `| head` that has enough.

Needs nothing but Python itself.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO


def say(words: str) -> None:
    """A line of ours on standard output."""
    write(f"launch: {words}\n".encode())


def write(data: bytes, stream: TextIO | None = None) -> None:
    """Bytes to standard output, or to `stream`. Once nobody can read them, they go nowhere; the logs have them."""
    stream = stream or sys.stdout
    try:
        stream.flush()
        stream.buffer.write(data)
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
