"""`pretrain verify` as a user types it: a real run of two layouts, and one that is broken off."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [str(Path(sys.executable).parent / "pretrain"), "verify", "quickstart"]


def test_two_layouts_pass_without_a_corpus(tmp_path: Path) -> None:
    command = [*COMMAND, "data.manifest=nowhere", "--layout", "data=2", "--layout", "pipe=2", "--steps", "3", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [layout["name"] for layout in told["layouts"]] == ["data2-zero1", "pipe2-zero1-1f1b"]
    for layout in told["layouts"]:
        assert layout["passed"]
        assert layout["loss"] < 1e-6
        assert layout["norm"] < 1e-5
        assert len(layout["gradients"]) == 4 + 4 * 12  # tokens, positions, the last norm's two; a block's twelve
        assert max(layout["gradients"].values()) < 1e-5
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONFAULTHANDLER": "1"}
    # whoever runs these tests in the background (`make test &`) has them ignore Ctrl-C, and so all that they start
    hears = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    asked = subprocess.Popen([*COMMAND, "--steps", "100000"], start_new_session=True, env=environment, preexec_fn=hears)
    while not list(tmp_path.glob("pretrain-verify-*/fp32/rank-0.txt")):
        assert asked.poll() is None
        time.sleep(0.1)
    assert len(processes_of(asked.pid)) > 1
    os.killpg(asked.pid, signal.SIGINT)
    try:
        code = asked.wait(60)
    except subprocess.TimeoutExpired:
        asked.send_signal(signal.SIGABRT)  # its stacks, on standard error
        raise
    assert code == 130
    for _ in range(50):  # the fork server sees that its parent is gone
        if not processes_of(asked.pid):
            break
        time.sleep(0.1)
    assert processes_of(asked.pid) == []
    assert not list(tmp_path.glob("pretrain-verify-*"))


def processes_of(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, its_session, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            if int(its_session) == session and state != "Z":
                found.append(int(entry.name))
    return found
