"""Who holds a run directory."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from launch.record import HeldError, held, holder
from pretrain.config.errors import ConfigError
from pretrain.resilience.locks import is_locked


def test_a_look_at_the_lock_does_not_keep_a_supervisor_out(tmp_path: Path) -> None:
    (tmp_path / "supervisor.lock").touch()
    with open(tmp_path / "supervisor.lock") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.5, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        with held(tmp_path, "17"):
            who = holder(tmp_path)
            assert who and (who.pid, who.job) == (os.getpid(), "17")
            began = time.monotonic()
            with pytest.raises(HeldError, match=rf"job 17 on \S+ \(pid {os.getpid()}\)"), held(tmp_path, "", 1.0):
                pass
            assert time.monotonic() - began >= 1.0


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Lustre without -o flock."""

    def flock(_file: int, _kind: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    rule = r"must be on a file system with locks; that of /\S* \(\S+\) has none: Function not implemented"
    with pytest.raises(ConfigError, match=rule), held(tmp_path, ""):
        pass
    with pytest.raises(ConfigError, match="mount Lustre with -o flock"):
        is_locked(tmp_path / "supervisor.lock")
