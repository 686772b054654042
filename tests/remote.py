"""Object storage for tests: fsspec's file system in memory, which lives in one process."""

from __future__ import annotations

from pathlib import Path

import fsspec


def upload(directory: Path, url: str) -> str:
    """Put the files of a directory at memory://...; returns the URL of its manifest."""
    system = fsspec.filesystem("memory")
    system.put(f"{directory}/", url.removeprefix("memory:/") + "/", recursive=True)
    return f"{url}/manifest.json"
