"""A host made of Linux namespaces: its own network, name, mounts and process ids; one disk for all.

What runs inside dies with the machine's first process, and machines inside a machine die with it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0
"""After which a command is taken to hang."""
DAEMONS = ("slurmctld", "slurmscriptd", "slurmd", "munged", "sshd", "unshare")
"""And `unshare`, which holds a machine inside another."""
SPACES = ("--net", "--uts", "--ipc", "--mount", "--pid")

# The first process ignores the ends of its children, so that the kernel buries orphans. ~/.ssh is hidden where there is
# one: what a test needs stands in the system's ssh_config, which is bound over.
BOOT = """
mount -t proc proc /proc && mount -t tmpfs tmpfs /dev/shm && mount -t tmpfs tmpfs /run && mkdir /run/sshd
hostname {name}
{share}
mount --bind {etc}/hosts /etc/hosts && mount --bind {etc}/ssh_config /etc/ssh/ssh_config
if [ -d ~root/.ssh ]; then mount -t tmpfs tmpfs ~root/.ssh; fi
ip link set lo up
trap '' CHLD
echo ready
exec sleep infinity
"""


class Machine:
    """One host, and what is started on it. Not running until `start`."""

    def __init__(self, name: str, address: str, base: Path, inside: Machine | None = None) -> None:
        self.name, self.address, self.base = name, address, base
        self._inside = inside
        self._boot: subprocess.Popen[str] | None = None
        self.first = 0
        """The process id, seen from outside, of the machine's first process."""
        self.started: list[subprocess.Popen[bytes]] = []
        """Daemons, and what tests left running."""

    def start(self) -> None:
        """Boot. Raises RuntimeError with what the shell said when the system does not allow it."""
        etc, runs = (shlex.quote(str(self.base / name)) for name in ("etc", "runs"))
        # what the login machine mounts below runs/ is mounted on every machine, and nothing else is
        share = "" if self._inside else f"mount --bind {runs} {runs} && mount --make-shared {runs}"
        script = "set -e" + BOOT.format(name=self.name, etc=etc, share=share)
        kept = ["--propagation=unchanged"] if self._inside else []
        unshare = ["unshare", *SPACES, *kept, "--fork", "--kill-child", "sh", "-c", script]
        enter = self._inside.entering() if self._inside else ["setpriv", "--pdeathsig", "KILL"]
        with (self.base / "log" / f"{self.name}.boot").open("w") as log:
            self._boot = subprocess.Popen([*enter, *unshare], stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._boot.stdout is not None
        if self._boot.stdout.readline() != "ready\n":
            self.crash()
            raise RuntimeError(f"{self.name} did not boot: {(self.base / 'log' / f'{self.name}.boot').read_text()}")
        self.first = _last_descendant(self._boot.pid)
        self.link()

    def link(self) -> None:
        """Connect the machine to the network. The login machine's device is the switch."""
        if self._inside is None:
            _ip(self.first, "link add eth0 type bridge")
        else:
            pair = f"link add {self.name} type veth peer name eth0 netns {self.first}"
            _ip(self._inside.first, pair, f"link set {self.name} master eth0 up")
        _ip(self.first, f"addr add {self.address}/24 dev eth0", "link set eth0 up")

    def unplug(self) -> None:
        """Pull the network cable: nothing comes or goes, and nobody is told."""
        assert self._inside is not None
        _ip(self._inside.first, f"link set {self.name} down")

    def plug(self) -> None:
        """Put the cable back."""
        assert self._inside is not None
        _ip(self._inside.first, f"link set {self.name} up")

    @property
    def alive(self) -> bool:
        return self._boot is not None and self._boot.poll() is None

    def crash(self) -> None:
        """Pull the plug: the cable first, so that peers hear nothing at all. Harmless when down."""
        if self._boot is None:
            return
        if self.first and self._inside and self._inside.alive:
            with contextlib.suppress(RuntimeError):  # not yet linked
                _ip(self._inside.first, f"link del {self.name}")
        if self.first and self.alive:
            with contextlib.suppress(ProcessLookupError):  # ended with the machine that it is inside of
                os.kill(self.first, signal.SIGKILL)
        for process in self.started:
            _bury(process)
        _bury(self._boot)
        self._boot, self.first, self.started = None, 0, []

    def entering(self) -> list[str]:
        """The command that runs what follows it inside, as long as that command itself lives."""
        assert self.first, f"{self.name} is down"
        return ["nsenter", f"--target={self.first}", *SPACES, "setpriv", "--pdeathsig", "KILL"]

    def popen(self, command: Sequence[str], environment: Mapping[str, str], output: Path) -> subprocess.Popen[bytes]:
        """Start a command inside, in the project's directory, both streams to `output`. It ends with the machine."""
        whole = [*self.entering(), "env", f"--chdir={ROOT}", *command]
        with output.open("ab") as stream:
            process = subprocess.Popen(
                whole, env=dict(environment), stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
            )
        self.started.append(process)
        return process

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """A command inside to its end, its output as text. Raises subprocess.TimeoutExpired, after killing it."""
        whole = [*self.entering(), "env", f"--chdir={ROOT}", *command]
        return subprocess.run(
            whole, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds
        )

    def processes(self) -> Iterator[int]:
        """Process ids, seen from outside, of all that runs inside, the first process left out."""
        if self.first:
            own = _space(self.first)
            yield from (pid for pid in all_processes() if pid != self.first and _space(pid) == own)

    def foreign(self) -> list[int]:
        """Of these, what is no daemon: all that jobs, steps and logins have started and not yet ended."""
        names = ((pid, _name(pid)) for pid in self.processes())
        return [pid for pid, name in names if name and not name.startswith(DAEMONS)]

    def kill(self, name: str) -> None:
        """kill -9 every process whose name begins so."""
        for pid in [pid for pid in self.processes() if _name(pid).startswith(name)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def tell(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    """Send a signal to what `popen` started: the process itself only holds the door."""
    (pid,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(pid), number)


def all_processes() -> list[int]:
    """Every process id that this process sees."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def environment_of(pid: int) -> dict[str, str]:
    """The variables that a process was started with; none when it has ended."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def command_of(pid: int) -> list[str]:
    """The words that a process was started with; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def python_path() -> str:
    """PATH with the interpreter of this process first."""
    return f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _name(pid: int) -> str:
    """Of a process that has not ended; else empty."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    name, _, rest = words.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] in "ZX" else name


def _bury(process: subprocess.Popen[Any]) -> None:
    """Wait for a process whose child was killed: killed first, it would leave its child to the system unburied."""
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _space(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return None


def _last_descendant(pid: int) -> int:
    """The end of a chain of only children."""
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        (pid,) = map(int, children)
    return pid


def _ip(network_of: int, *commands: str) -> None:
    """Run `ip` in the network of a process, seeing the process ids of this one."""
    for command in commands:
        done = subprocess.run(
            ["nsenter", f"--target={network_of}", "--net", "ip", *command.split()], capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"ip {command}: {done.stderr}")
