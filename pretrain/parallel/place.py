"""Where a launcher put this process: its rank, and where rank 0 is found. Runs without torch."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pretrain.config.errors import ConfigError

PORTS = range(20000, 32000)
"""For rank 0's store: below those that Linux hands out by itself (32768 and up)."""
SECONDS = 60
"""After which scontrol is taken to hang: its controller is down."""


@dataclass(frozen=True)
class Place:
    """Where a launcher put this process."""

    rank: int
    local_rank: int
    size: int
    node_size: int | None = None
    """Processes on each node, where the launcher says so."""


def find_place(environment: Mapping[str, str]) -> Place:
    """Rank and size from the variables of torchrun, deepspeed, OpenMPI or a bare `srun`, or of a process on its own.

    torchrun and deepspeed come first: srun or mpirun may have started them, and then speak of them. mpirun comes
    before srun, which starts its daemons. Raises ConfigError when the variables are only partly there.
    """
    if "RANK" in environment or "WORLD_SIZE" in environment:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    elif "OMPI_COMM_WORLD_SIZE" in environment:
        names = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE")
    elif int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        # of the step: SLURM_NTASKS is the job's in a batch script and in the shell that salloc opens
        names = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS")
    else:
        return Place(0, 0, 1)
    missing = [name for name in names if name not in environment]
    if missing:
        fix = "start with torchrun, deepspeed, mpirun or srun, or unset the others"
        raise ConfigError.of("environment", missing, f"{', '.join(names)} must be set together", fix)
    rank, local_rank, size = (int(environment[name]) for name in names)
    return Place(rank, local_rank, size, _node_size(environment))


def find_launcher(environment: Mapping[str, str]) -> tuple[str, str]:
    """What started this process, and the scheduler's name of the job ("" without one)."""
    job = environment.get("SLURM_JOB_ID", "")
    if "SLURM_ARRAY_JOB_ID" in environment:
        job = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    if "TORCHELASTIC_RUN_ID" in environment:
        return "torchrun", job
    if "CROSS_RANK" in environment:
        return "deepspeed", job
    if "OMPI_COMM_WORLD_SIZE" in environment:
        return "mpirun", job
    return ("slurm" if "SLURM_STEP_ID" in environment else "local"), job


def _node_size(environment: Mapping[str, str]) -> int | None:
    """Processes per node; None where nodes differ or nothing is said. SLURM says `2`, `2(x4)` or `2(x3),1`."""
    said = environment.get("LOCAL_WORLD_SIZE") or environment.get("OMPI_COMM_WORLD_LOCAL_SIZE")
    found = re.fullmatch(r"(\d+)(\(x\d+\))?", said or environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    return int(found[1]) if found else None


def find_rendezvous(environment: Mapping[str, str]) -> dict[str, str]:
    """MASTER_ADDR and MASTER_PORT, where ranks meet: as the launcher says, else from SLURM's variables.

    The port follows from job, step and restart, so that two jobs on a node do not meet. Raises ConfigError where rank
    0's node is not known. It never falls back to localhost: every node would be a world of its own.
    """
    said = {name: environment[name] for name in ("MASTER_ADDR", "MASTER_PORT") if name in environment}
    if len(said) == 2:
        return said
    if "SLURM_JOB_ID" not in environment or "OMPI_COMM_WORLD_SIZE" in environment:
        fix = "set both for every process (mpirun -x NAME=..., deepspeed: lines in .deepspeed_env), or use torchrun"
        raise ConfigError.of("environment", "MASTER_ADDR, MASTER_PORT", "must say where rank 0 is", fix)
    job, step = int(environment["SLURM_JOB_ID"]), int(environment.get("SLURM_STEP_ID", "0"))
    restart = int(environment.get("SLURM_RESTART_COUNT", "0"))  # not set before the first restart
    port = PORTS[(job * 17 + step + restart) % len(PORTS)]
    address = said.get("MASTER_ADDR") or _address(_first_node(environment))
    return {"MASTER_ADDR": address, "MASTER_PORT": said.get("MASTER_PORT", str(port))}


def _first_node(environment: Mapping[str, str]) -> str:
    """The node of rank 0: the first of the step, or of the list that says which rank goes where."""
    if environment.get("SLURM_DISTRIBUTION") == "arbitrary":
        try:
            return Path(environment["SLURM_HOSTFILE"]).read_text().split()[0]
        except (KeyError, OSError, IndexError):
            raise _unknown("SLURM_HOSTFILE", "must be readable here: it says on which node rank 0 is") from None
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    return _scontrol("show", "hostnames", nodes).split()[0]


def _address(node: str) -> str:
    """A name that leads to the node from here: its own, or the one that SLURM itself uses."""
    try:
        socket.getaddrinfo(node, None)
        return node
    except OSError:
        found = re.search(r"\bNodeAddr=(\S+)", _scontrol("show", "node", node))
        if found is None:
            raise _unknown(node, "has no address, neither here nor in SLURM") from None
        return found[1]


def _scontrol(*words: str) -> str:
    try:
        done = subprocess.run(["scontrol", *words], capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        raise _unknown("scontrol", "must be on the nodes to find rank 0") from None
    except subprocess.TimeoutExpired:
        raise _unknown(f"scontrol {' '.join(words)}", f"gave no answer within {SECONDS} s") from None
    if done.returncode or not done.stdout.strip():
        raise _unknown(f"scontrol {' '.join(words)}", f"failed: {done.stderr.strip() or 'no output'}")
    return done.stdout


def _unknown(value: str, rule: str) -> ConfigError:
    fix = "set MASTER_ADDR and MASTER_PORT to rank 0's node and a free port"
    return ConfigError.of("environment", value, rule, fix)
