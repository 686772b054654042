"""A real SLURM cluster on this machine: a login machine with the controller, and nodes with fake GPUs.

Everything lives in namespaces below the login machine's first process: no daemon, interface, mount or port outside, so
that several clusters stand side by side, and none outlives the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.cluster.machine import SPACES, Machine, command_of, python_path, tell
from tests.cluster.settings import write_settings

PROGRAMS = (
    *("slurmctld", "slurmd", "srun", "munged", "sshd", "ssh", "ssh-keygen", "pdsh", "mpirun", "ip"),
    *("nsenter", "unshare", "setpriv"),
)
CLIENT = 20.0
"""Seconds for a client command: a dead controller keeps it waiting."""
PATIENCE = 15
"""Seconds until SLURM gives a silent node up."""


def missing() -> list[str]:
    """What this machine lacks to run a cluster; empty where it can."""
    search = python_path()
    lacks = [program for program in PROGRAMS if not shutil.which(program, path=search)]
    if lacks or os.geteuid() != 0:
        return lacks or ["root"]
    probe = ["unshare", *SPACES, "--fork", "ip", "link", "add", "switch", "type", "bridge"]
    return [] if subprocess.run(probe, capture_output=True).returncode == 0 else ["permission to make namespaces"]


class Node(Machine):
    """A machine of the cluster that runs slurmd."""

    def __init__(self, number: int, base: Path, login: Machine, environment: Mapping[str, str]) -> None:
        super().__init__(f"node{number}", f"10.77.0.{10 + number}", base, login)
        self._environment = environment

    def start(self) -> None:
        """Boot, and start slurmd. The controller hears of it by itself."""
        super().start()
        self.popen(["slurmd", "-D", "-N", self.name], self._environment, self.base / "log" / f"{self.name}.out")

    def start_sshd(self) -> None:
        """Have the node take ssh connections, if it does not yet."""
        if self._listens():
            return
        settings = self.base / "etc" / f"sshd_config.{self.name}"
        self.popen(["/usr/sbin/sshd", "-D", "-f", str(settings)], self._environment, self.base / "log" / "sshd")
        wait_for(self._listens, 10, "sshd")

    def _listens(self) -> bool:
        return self.run(["ss", "-Hltn", "sport = :22"], self._environment).stdout != ""


class Cluster:
    """`with Cluster() as cluster`: started, and gone without a trace afterwards, however the block ends."""

    def __init__(self, nodes: int = 4, cpus: int = 32, gpus: int = 8) -> None:
        self._sizes = (cpus, gpus)
        # munged insists that everybody may enter the directories above its own, which pytest's do not allow
        self.base = Path(tempfile.mkdtemp(prefix="pretrain-cluster-"))
        self.base.chmod(0o755)
        self.environment = clean_environment(self.base)
        self.login = Machine("login", "10.77.0.1", self.base)
        self.nodes = [Node(number, self.base, self.login, self.environment) for number in range(1, nodes + 1)]
        self._controller: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Boot all machines and wait until SLURM calls every node idle."""
        addresses = {machine.name: machine.address for machine in (self.login, *self.nodes)}
        write_settings(self.base, addresses, *self._sizes, PATIENCE)
        self.login.start()
        munge = self.base / "munge"
        parts = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
        options = [f"--{option}={munge / name}" for option, name in parts.items()]
        self._daemon(["munged", "--foreground", "--num-threads=4", *options])
        wait_for((munge / "socket").exists, 10, "munge")
        self.start_controller()
        for node in self.nodes:
            node.start()
        wait_for(self._all_idle, 30, f"the nodes ({self.base}/log)", every=0.1)

    def stop(self) -> None:
        """Take everything down, whatever state it is in."""
        try:
            for machine in (self.login, *self.nodes):  # all end with the first
                machine.crash()
        finally:
            shutil.rmtree(self.base, ignore_errors=True)

    def node(self, number: int) -> Node:
        """Counted from 1, as in their names."""
        return self.nodes[number - 1]

    def runs(self, name: str) -> Path:
        """A new directory that all machines see."""
        (path := self.base / "runs" / name).mkdir()
        return path

    @contextlib.contextmanager
    def small_disk(self, directory: Path, size: str) -> Iterator[Path]:
        """A disk of its own at `directory` (below runs/) on all machines; yields where this process sees it.

        What is on it at the end stays in `directory`.
        """
        self.ask("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory))
        seen = Path(f"/proc/{self.login.first}/root{directory}")
        try:
            yield seen
            shutil.copytree(seen, directory, dirs_exist_ok=True)
        finally:
            self.ask("umount", str(directory))

    # ---- the controller

    def start_controller(self) -> None:
        """Start slurmctld, with the state it had."""
        self._controller = self._daemon(["slurmctld", "-D", "-i"])

    def stop_controller(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it: client commands wait until it is back. SIGKILL loses what it knew of the last seconds."""
        assert self._controller is not None
        tell(self._controller, how)
        self._controller.wait()

    def restart_controller(self) -> None:
        """As an administrator does."""
        self.stop_controller()
        self.start_controller()
        wait_for(lambda: "UP" in self.client("scontrol", "ping").stdout, 30, "slurmctld")

    def _daemon(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        return self.login.popen(command, self.environment, self.base / "log" / f"{command[0]}.out")

    # ---- clients

    def client(self, *command: str, seconds: float = CLIENT) -> subprocess.CompletedProcess[str]:
        """A command on the login machine to its end."""
        return self.login.run(command, self.environment, seconds)

    def ask(self, *command: str) -> str:
        """What a client command prints. Raises AssertionError when it fails."""
        done = self.client(*command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def sbatch(self, script: str, *options: str) -> int:
        """Submit the text of a batch script; returns the job's id."""
        path = self.base / "runs" / f"job-{time.monotonic_ns()}.sh"
        path.write_text(f"#!/bin/bash\n{script}\n")
        return int(self.ask("sbatch", "--parsable", f"--output={path}.%j", *options, str(path)))

    def squeue(self) -> dict[str, str]:
        """State of every job that waits or runs, by its id."""
        return dict(line.split() for line in self.ask("squeue", "-h", "-o", "%i %T").splitlines())

    def job(self, number: int) -> dict[str, str]:
        """What scontrol knows of a job, ended ones too."""
        words = self.ask("scontrol", "show", "job", "-o", str(number)).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def job_state(self, number: int) -> str:
        """PENDING, RUNNING, COMPLETED, FAILED, ..."""
        return self.job(number)["JobState"]

    def wait_for_job(self, number: int, *states: str, seconds: float = 120) -> str:
        """Until a job is in one of the states; returns it."""
        wait_for(lambda: self.job_state(number) in states, seconds, f"job {number} to be {states}", every=0.3)
        return self.job_state(number)

    # ---- between tests

    def reset(self) -> None:
        """As new: controller up, no jobs, every node booted and idle, nothing of a test running, nor sshd."""
        if self._controller is None or self._controller.poll() is not None:
            self.start_controller()
        wait_for(lambda: "UP" in self.client("scontrol", "ping").stdout, 30, "slurmctld")
        for node in self.nodes:
            if node.alive:
                node.plug()
                node.kill("sshd")
            else:
                node.start()
        wait_for(self._cleared, 30, "all jobs to end", every=0.2)
        # SLURM 22.05 may go on to count the cores of a requeued job as taken, though it calls their nodes idle
        self.client("scontrol", "reconfigure")  # counts anew
        self.client("scontrol", "update", f"nodename=node[1-{len(self.nodes)}]", "state=idle")
        wait_for(self._all_idle, 60, "all nodes to be idle again", every=0.2)

    def foreign(self) -> dict[str, list[list[str]]]:
        """By machine, the commands that still run beside the daemons."""
        found = {machine.name: [command_of(pid) for pid in machine.foreign()] for machine in (self.login, *self.nodes)}
        return {name: commands for name, commands in found.items() if commands}

    def _cleared(self) -> bool:
        """Cancel and kill what there is; whether nothing was left of it."""
        if jobs := self.squeue():
            self.client("scancel", "--user=root")
        left = [pid for machine in (self.login, *self.nodes) for pid in machine.foreign()]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not jobs and not left

    def _all_idle(self) -> bool:
        found = self.client("sinfo", "-h", "-p", "train", "-t", "idle", "-o", "%D").stdout.strip()
        return found == str(len(self.nodes))


def clean_environment(base: Path) -> dict[str, str]:
    """The variables of a user who has just logged in; nothing of this process's own launchers, nor of its home."""
    return {
        "PATH": python_path(),
        "HOME": str(base / "home"),
        "USER": "root",
        "LANG": "C.UTF-8",
        "SLURM_CONF": str(base / "etc" / "slurm.conf"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def wait_for(happened: Callable[[], bool], seconds: float, what: str, every: float = 0.05) -> None:
    """Poll until it has happened. Raises TimeoutError that says what did not."""
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(every)
