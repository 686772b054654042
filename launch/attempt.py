"""One attempt: starts the command, passes on what signals ask, ends it when it hangs.

Needs nothing but Python itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from launch import keep
from launch.record import read_json
from launch.say import write
from launch.signals import Requests, Signals
from pretrain.resilience.attempts import read_attempts

POLL = 0.25
"""Seconds between two looks at the command, the signals and the heartbeat."""
LOOK = 2.0
"""Seconds between two looks at what node 0 wrote."""
GRACE = 10.0
"""Seconds that ranks have at most to end by themselves, once one of them ended."""
MARGIN = 30.0
"""Seconds beyond stall.silence after which a heartbeat that stands still is taken to be dead."""


@dataclass(frozen=True)
class Settings:
    """What the supervisor was started with. Times in seconds."""

    directory: Path
    command: tuple[str, ...]
    slurm: bool = False
    """Whether it is the batch script of a SLURM job."""
    node: int = 0
    """Number of this machine where each has its own supervisor; only that of 0 decides and writes."""
    exclude: str = ""
    """Nodes that SLURM is never to give, as the script's #SBATCH --exclude has them."""
    output: str = "logs/attempt-{attempt}.log"
    """Where the command's output goes, in the run directory."""
    grace: float = 600.0
    """After a signal, until the command is ended."""
    start: float = 1200.0
    """Until the first heartbeat: resilience.stall.start."""
    silence: float = 60.0
    """resilience.stall.silence."""
    spoken: float = 3.0
    """That the command has to end after all ranks should have. srun, for one, waits for lost machines too."""
    kill: float = 30.0
    """Between SIGTERM and SIGKILL for a command that is ended."""
    backoff: float = 60.0
    """The longest wait before a start after a failure; 2, 4, 8 ... seconds lead up to it."""
    limit: int = 100
    """resilience.restarts.limit."""
    same_failure: int = 3
    """resilience.restarts.same_failure."""


@dataclass(frozen=True)
class Ended:
    """How the command ended."""

    code: int
    why: str = ""
    """Why it was ended, where it did not end by itself."""


class Heart:
    """Whether the run is alive, by its heartbeat.json. Clocks of other machines are not compared with this one's."""

    def __init__(self, settings: Settings, attempt: int) -> None:
        self._settings, self._attempt = settings, attempt
        self._beat: object = None
        self._since = self._spoken = time.monotonic()

    def trouble(self) -> str:
        """Why the command must be ended; nothing while all is well."""
        asked, settings = time.monotonic(), self._settings
        beat = read_json(settings.directory / "heartbeat.json")
        now = time.monotonic()
        self._since, self._spoken = self._since + now - asked, self._spoken + now - asked  # a disk that stood still
        if beat.get("attempt") != self._attempt:
            waited = settings.start + settings.silence + MARGIN
            return f"did not start within {waited:.0f} s" if now - self._since > waited else ""
        if beat.get("time") != self._beat:
            self._beat, self._since = beat.get("time"), now
        if not (verdict := beat.get("verdict")):
            self._spoken = now
        elif now - self._spoken > float(beat.get("ends_within", GRACE)) + settings.spoken:
            return str(verdict)
        silent = now - self._since
        return f"no heartbeat for {silent:.0f} s" if silent > settings.silence + MARGIN else ""


class FirstNode:
    """On other machines: whether the supervisor of node 0 has closed the attempt, of which they may see nothing."""

    def __init__(self, settings: Settings, attempt: int) -> None:
        self._settings, self._attempt = settings, attempt
        self._looked = time.monotonic()
        self._over: float | None = None

    def trouble(self) -> str:
        """Why the command must be ended: it outlives its attempt."""
        now = time.monotonic()
        if self._settings.node == 0 or now - self._looked < LOOK:
            return ""
        self._looked = now
        found = [one for one in read_attempts(self._settings.directory) if one.number == self._attempt]
        if not found or found[-1].outcome is None:
            return ""
        self._over = self._over or now
        return f"over on node 0: {found[-1].outcome}" if now - self._over > GRACE + self._settings.spoken else ""


class Echo:
    """Copies what rank 0 and the launcher write to standard output, for who started the run in a terminal."""

    def __init__(self, *paths: Path) -> None:
        self._places = {path: path.stat().st_size if path.exists() else 0 for path in paths}

    def pump(self) -> None:
        """Copy what is new."""
        for path, place in self._places.items():
            with contextlib.suppress(OSError), open(path, "rb") as file:
                file.seek(place)
                if data := file.read():
                    self._places[path] = place + len(data)
                    write(data)


def run_attempt(settings: Settings, number: int, signals: Signals) -> Ended:
    """Start the command for attempt `number` and wait until it and all that it started have ended."""
    port = port_of(settings.directory, number)
    uses_port = any("{port}" in part for part in settings.command)
    if settings.node == 0 and uses_port and in_use(port):
        return Ended(1, f"port {port} is in use on {socket.gethostname()}")
    command = [part.replace("{attempt}", f"{number:03d}").replace("{port}", str(port)) for part in settings.command]
    log = settings.directory / settings.output.replace("{attempt}", f"{number:03d}")
    echo = Echo(log, settings.directory / "logs" / f"attempt-{number:03d}.rank-00000.log")
    try:
        keeper = _start(command, log, settings.kill)
    except OSError as error:
        return Ended(1, f"cannot be started: {error}")
    why = _wait(keeper, settings, number, signals, echo)
    if not settings.slurm:
        echo.pump()
    return Ended(keeper.returncode if keeper.returncode >= 0 else 128 - keeper.returncode, why)


def _start(command: list[str], log: Path, kill: float) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-P", keep.__file__, str(kill), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait(keeper: subprocess.Popen[bytes], settings: Settings, number: int, signals: Signals, echo: Echo) -> str:
    """Until the command has ended. Why it was ended, where it did not end by itself."""
    requests = Requests(settings.directory, signals, settings.grace)
    heart, first, why = Heart(settings, number), FirstNode(settings, number), ""
    while keeper.poll() is None:
        asked = requests.trouble()
        why = why or asked or heart.trouble() or first.trouble()
        if why:
            keeper.terminate()  # it alone knows all that must end; asking twice does no harm
        if not settings.slurm:
            echo.pump()
        time.sleep(POLL)
    return why


def port_of(directory: Path, number: int) -> int:
    """The same on every machine, another one for each job, run and attempt; below the ports that systems give out."""
    job = os.environ.get("SLURM_JOB_ID", "")
    return 20000 + zlib.crc32(f"{job}:{directory.absolute()}:{number}".encode()) % 12000


def in_use(port: int) -> bool:
    """Whether somebody listens at a port of this machine."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            line.bind(("", port))
        except OSError:
            return True
    return False
