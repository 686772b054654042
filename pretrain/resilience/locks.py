"""Locks on files: who holds a run directory lives.

Needs nothing but Python itself.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from pretrain.config.errors import ConfigError


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file at `path`, here or on any machine that shares the file system."""
    try:
        with open(path) as file:
            return not locked(file, fcntl.LOCK_SH)
    except OSError:
        return False


def locked(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    """Whether the lock of an open file could be had now. Raises ConfigError when the file system has none."""
    try:
        fcntl.flock(file.fileno(), kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        place, system = _file_system(Path(file.name))
        rule = f"must be on a file system with locks; that of {place} ({system}) has none: {error.strerror}"
        fix = "mount Lustre with -o flock and NFS without nolock, or set `directory:` to another file system"
        raise ConfigError.of("directory", str(Path(file.name).parent), rule, fix) from None
    return True


def _file_system(path: Path) -> tuple[str, str]:
    """Where the file system of `path` is mounted, and its kind, such as `lustre`."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        mounts = []
    above = [(place, kind) for place, kind in mounts if path.resolve().is_relative_to(place)]
    return max(above, key=lambda found: len(found[0]), default=("/", "?"))
