"""Where a run is launched: nodes, devices, and what the site's scheduler wants to be told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pretrain.config.hardware import Hardware
from pretrain.config.section import Section
from pretrain.config.units import Seconds


def _variable(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Variable = Annotated[str, BeforeValidator(_variable)]


class Slurm(Section):
    """What goes into the `#SBATCH` lines."""

    partition: str | None = None
    """--partition."""
    account: str | None = None
    """--account."""
    qos: str | None = None
    """--qos."""
    time: Seconds | None = Field(None, gt=0)
    """--time of one job, such as `12 h`. None: the partition's default."""
    constraint: str | None = None
    """--constraint: features of the nodes."""
    switches: str | None = None
    """--switches: most leaf switches to span, `1` or `1@60:00` (wait at most an hour for it)."""
    exclude: str | None = None
    """--exclude: nodes not to use, such as `node[3,7]`."""
    exclusive: bool = True
    """--exclusive: nodes are not shared."""
    start: Literal["srun", "torchrun"] = "srun"
    """srun: one task for each process. torchrun: one task for each node, which starts its processes."""
    warn: Seconds = Field(300.0, gt=0, le=65535)
    """Seconds before the time limit at which the job is told to save (--signal=B:USR1@..., where SLURM has 16 bits)."""
    options: tuple[str, ...] = ()
    """Further #SBATCH lines, such as `--mail-type=END`."""


class Torchrun(Section):
    """How torchrun's nodes meet, where there are several. Every node runs the rendered script with its number."""

    backend: Literal["c10d", "static"] = "c10d"
    """c10d: --rdzv-backend c10d. static: --master-addr and --node-rank."""
    endpoint: str | None = None
    """Host of node 0, or host:port. Without a port each attempt has its own."""


class Hosts(Section):
    """DeepSpeed's launcher on several nodes."""

    launcher: Literal["pdsh", "openmpi", "slurm", "no_ssh"] = "pdsh"
    """--launcher; no_ssh: every node runs the rendered script with its number."""
    hostfile: str | None = None
    """Lines such as `node1 slots=8`, node 0 first."""
    ssh_port: int | None = Field(None, ge=1, le=65535)
    """--ssh_port."""
    launcher_args: str = ""
    """--launcher_args, such as `--mca btl_tcp_if_include ib0` for openmpi."""


class Container(Section):
    """The image that the processes run in."""

    kind: Literal["pyxis", "apptainer"]
    """pyxis: srun --container-image (enroot). apptainer: apptainer exec."""
    image: str
    """Path of a .sqsh or .sif, or a registry name."""
    mounts: tuple[str, ...] = ()
    """host:container paths beside the working directory."""


class Cluster(Section):
    """Where and how a run is launched. Never changes what it computes."""

    launcher: Literal["local", "torchrun", "deepspeed", "slurm"] = "local"
    """What starts the processes, unless `pretrain launch --on` says otherwise."""
    nodes: int = Field(1, ge=1)
    """Machines."""
    min_nodes: int | None = Field(None, ge=1)
    """With `parallel: auto`, go on with as few as this many when not all come back. Default: nodes."""
    gpus_per_node: int = Field(1, ge=1)
    """Processes on each node, one per device; on machines without GPUs as many CPU processes."""
    cpus_per_gpu: int | None = Field(None, ge=1)
    """CPU cores for each process; also its OMP_NUM_THREADS. None: the scheduler's default."""
    gpus: bool = True
    """Whether devices are asked from the scheduler; false on CPU clusters."""
    hardware: Hardware | None = None
    """What the GPUs and links can do, for `pretrain plan`; the name of a file in configs/clusters/, or its fields."""
    slurm: Slurm = Slurm()
    """SLURM's own settings."""
    torchrun: Torchrun = Torchrun()
    """torchrun's, on several nodes."""
    deepspeed: Hosts = Hosts()
    """DeepSpeed's launcher's, on several nodes."""
    container: Container | None = None
    """Container image, where one is used."""
    setup: tuple[str, ...] = ()
    """Shell lines before the run, such as `module load cuda/12.4` or `source env/bin/activate`."""
    python: str | None = None
    """Interpreter on the nodes. Default: the one that runs `pretrain launch`; in a container `python`."""
    environment: dict[Name, Variable] = Field(default_factory=dict)
    """Variables for every process, such as NCCL_SOCKET_IFNAME: ib0. Never secrets: they are written to the script."""
    template: str | None = None
    """A template of the site's own instead of launch/templates/job.sbatch or launch.sh."""
