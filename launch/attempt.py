"""One attempt: starts the command, passes on what signals ask, ends it when it hangs.

Needs nothing but Python itself.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from launch import keep
from launch.record import read_json
from pretrain.resilience.stop import Then, request_stop

POLL = 0.25
"""Seconds between two looks at the command, the signals and the heartbeat."""
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
    spoken: float = 20.0
    """That the ranks have to end by themselves after rank 0 gave its verdict."""
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


class Signals:
    """Collects SIGUSR1, SIGTERM, SIGINT and SIGHUP. Handlers do nothing else."""

    def __init__(self, slurm: bool) -> None:
        self.slurm = slurm
        self.caught: list[signal.Signals] = []
        self._read = 0
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._catch)

    def news(self) -> list[signal.Signals]:
        """Signals since the last call."""
        news, self._read = self.caught[self._read :], len(self.caught)
        return news

    def then(self, number: signal.Signals) -> Then:
        """What a signal wishes: under SLURM all but SIGINT come from the scheduler, which takes the nodes away."""
        return "requeue" if number == signal.SIGUSR1 or (self.slurm and number == signal.SIGTERM) else "end"

    @property
    def wish_to_end(self) -> str:
        """Which of them said not to go on; empty when none did."""
        return next((number.name for number in self.caught if self.then(number) == "end"), "")

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.caught.append(signal.Signals(number))


class Heart:
    """Whether the run is alive, by its heartbeat.json. Clocks of other machines are not compared with this one's."""

    def __init__(self, settings: Settings, attempt: int) -> None:
        self._settings, self._attempt = settings, attempt
        self._beat: object = None
        self._since = self._spoken = time.monotonic()

    def trouble(self) -> str:
        """Why the command must be ended; nothing while all is well."""
        now, settings = time.monotonic(), self._settings
        beat = read_json(settings.directory / "heartbeat.json")
        if beat.get("attempt") != self._attempt:
            waited = settings.start + settings.silence + MARGIN
            return f"did not start within {waited:.0f} s" if now - self._since > waited else ""
        if beat.get("time") != self._beat:
            self._beat, self._since = beat.get("time"), now
        if not (verdict := beat.get("verdict")):
            self._spoken = now
        elif now - self._spoken > settings.spoken:
            return str(verdict)
        silent = now - self._since
        return f"no heartbeat for {silent:.0f} s" if silent > settings.silence + MARGIN else ""


class Echo:
    """Copies what rank 0 and the launcher write to standard output, for who started the run in a terminal."""

    def __init__(self, *paths: Path) -> None:
        self._places = {path: path.stat().st_size if path.exists() else 0 for path in paths}

    def pump(self) -> None:
        """Copy what is new."""
        for path, place in self._places.items():
            if path.exists() and path.stat().st_size > place:
                with open(path, "rb") as file:
                    file.seek(place)
                    data = file.read()
                self._places[path] = place + len(data)
                sys.stdout.buffer.write(data)
                sys.stdout.flush()


def run_attempt(settings: Settings, number: int, signals: Signals) -> Ended:
    """Start the command for attempt `number` and wait until it and all that it started have ended."""
    port = port_of(settings.directory, number)
    uses_port = any("{port}" in part for part in settings.command)
    if settings.node == 0 and uses_port and in_use(port):
        return Ended(1, f"port {port} is in use on {socket.gethostname()}")
    command = [part.replace("{attempt}", f"{number:03d}").replace("{port}", str(port)) for part in settings.command]
    log = settings.directory / settings.output.replace("{attempt}", f"{number:03d}")
    log.parent.mkdir(parents=True, exist_ok=True)
    echo = Echo(log, settings.directory / "logs" / f"attempt-{number:03d}.rank-00000.log")
    with open(log, "ab") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-P", keep.__file__, str(settings.kill), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    why = _wait(keeper, settings, number, signals, echo)
    if not settings.slurm:
        echo.pump()
    return Ended(keeper.returncode if keeper.returncode >= 0 else 128 - keeper.returncode, why)


def _wait(keeper: subprocess.Popen[bytes], settings: Settings, number: int, signals: Signals, echo: Echo) -> str:
    """Until the command has ended. Why it was ended, where it did not end by itself."""
    heart, why, asked = Heart(settings, number), "", None
    while keeper.poll() is None:
        for caught in signals.news():
            if asked is not None and caught == signal.SIGINT:
                why = why or "interrupted twice"
            asked = asked or (caught.name, time.monotonic())
            request_stop(settings.directory, _meaning(caught, settings.slurm), signals.then(caught))
        if asked and time.monotonic() - asked[1] > settings.grace:
            why = why or f"did not end within {settings.grace:.0f} s of {asked[0]}"
        why = why or heart.trouble()
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


def _meaning(caught: signal.Signals, slurm: bool) -> str:
    if caught == signal.SIGUSR1:
        return "SIGUSR1: the time limit is near" if slurm else "SIGUSR1"
    return f"{caught.name}: SLURM takes the nodes back" if slurm and caught == signal.SIGTERM else caught.name
