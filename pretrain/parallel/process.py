"""This process among the others: where its rank comes from, and the group they form."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, Store

from pretrain.config.errors import ConfigError
from pretrain.config.resilience import Resilience
from pretrain.parallel.rollcall import await_everyone, open_store
from pretrain.parallel.watch import Watch

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""After which a collective that a rank never joined is an error."""


@dataclass(frozen=True)
class Place:
    """Where a launcher put this process."""

    rank: int
    local_rank: int
    size: int
    node_size: int | None = None
    """Processes on each node, where the launcher says so."""


@dataclass(frozen=True)
class World:
    """All processes of a run, seen from one of them. Passed to what needs it, never global."""

    rank: int
    size: int
    device: torch.device
    watch: Watch | None = None
    """Notices ranks that end, fall silent or hang; None in tools that watch for themselves."""

    def at(self, phase: str, step: int | None = None) -> None:
        """This rank enters a phase (of the step it is in, where none is given)."""
        if self.watch:
            self.watch.at(phase, step)

    def started(self) -> None:
        """The first step is done; from here on each phase has its own limit."""
        if self.watch:
            self.watch.started = True

    def done(self) -> None:
        """This rank has done its part: its end is none that others should be told of."""
        if self.watch:
            self.watch.close()

    @property
    def is_writer(self) -> bool:
        """Whether this rank writes files that belong to the whole run."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` summed over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def first(self, text: str | None) -> str | None:
        """The text of the lowest rank that has one, on every rank: how an error of one is told by all."""
        return next((found for found in self.gather(text) if found is not None), None)

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()


def find_place(environment: Mapping[str, str]) -> Place:
    """Rank and size from torchrun's or deepspeed's variables, from a bare `srun`, or of a process on its own.

    Raises ConfigError when the variables are only partly there.
    """
    if "RANK" in environment or "WORLD_SIZE" in environment:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    elif "SLURM_STEP_ID" in environment and int(environment.get("SLURM_NTASKS", "1")) > 1:  # inside srun, not sbatch
        names = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS")
    else:
        return Place(0, 0, 1)
    missing = [name for name in names if name not in environment]
    if missing:
        fix = "start with torchrun, deepspeed or srun, or unset the others"
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
    return ("slurm" if "SLURM_STEP_ID" in environment else "local"), job


def _node_size(environment: Mapping[str, str]) -> int | None:
    """Processes per node from torchrun's or SLURM's variables; None where nodes differ or nothing is said."""
    said = environment.get("LOCAL_WORLD_SIZE") or environment.get("SLURM_NTASKS_PER_NODE")
    return int(said) if said and said.isdigit() else None


def join_world(resilience: Resilience | None = None) -> World:
    """Form the process group: NCCL on GPUs, gloo on CPUs. Must come before anything imports deepspeed.

    Raises RunError with the ranks that are missing.
    """
    resilience = resilience or Resilience()
    place = find_place(os.environ)
    device = _device(place.local_rank)
    # DeepSpeed reads these three, whoever started the process.
    os.environ.update(RANK=str(place.rank), LOCAL_RANK=str(place.local_rank), WORLD_SIZE=str(place.size))
    backend = "nccl" if device.type == "cuda" else "gloo"
    if backend == "nccl":
        record_flights()
    store: Store = HashStore()
    head = "127.0.0.1"
    if place.size > 1:
        if "MASTER_ADDR" not in os.environ:
            os.environ.update(_slurm_rendezvous(os.environ))
        head, arrival = os.environ["MASTER_ADDR"], timedelta(seconds=resilience.stall.start)
        store = open_store(os.environ, place.rank, arrival)
        await_everyone(store, place.rank, place.size, arrival)
    watch = Watch(store, head, place.rank, place.size, resilience)
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size, timeout=TIMEOUT)
    return World(place.rank, place.size, device, watch)


def record_flights() -> None:
    """Have NCCL keep its last collectives and write them to files when one times out; a setting of the user's stays.

    Read the files with `torchfrtrace`. Not tested here: no GPU was at hand.
    """
    os.environ.setdefault("TORCH_FR_BUFFER_SIZE", "2000")
    os.environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "1")


def leave_world() -> None:
    """End the process group; without it a rank can abort at exit."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _device(local_rank: int) -> torch.device:
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    return torch.device("cpu")


def _slurm_rendezvous(environment: Mapping[str, str]) -> dict[str, str]:
    """The first node of the job, and a port that two jobs on it do not share. Never falls back to localhost."""
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST")
    if not nodes:
        fix = "set MASTER_ADDR and MASTER_PORT, or start with torchrun"
        raise ConfigError.of("environment", "MASTER_ADDR", "must name the first node", fix)
    shown = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, timeout=60)
    if shown.returncode:
        raise ConfigError.of("environment", nodes, f"scontrol cannot expand it: {shown.stderr}", "set MASTER_ADDR")
    port = 20000 + (int(environment["SLURM_JOB_ID"]) * 17 + int(environment.get("SLURM_RESTART_COUNT", "0"))) % 20000
    return {"MASTER_ADDR": shown.stdout.split()[0], "MASTER_PORT": str(port)}
