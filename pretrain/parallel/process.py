"""This process among the others: the group they form."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, Store

from pretrain.config.resilience import Resilience
from pretrain.parallel.place import find_place, find_rendezvous
from pretrain.parallel.rollcall import await_everyone, open_store
from pretrain.parallel.watch import Watch

T = TypeVar("T")

TIMEOUT = timedelta(hours=3)
"""After which a collective that a rank never joined is an error: beyond any resilience.stall, which names the rank."""


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
        allow_connections()
        os.environ.update(find_rendezvous(os.environ))
        head, arrival = os.environ["MASTER_ADDR"], timedelta(seconds=resilience.stall.start)
        store = open_store(os.environ, place.rank, arrival)
        await_everyone(store, place.rank, place.size, arrival)
    watch = Watch(store, head, place.rank, place.size, resilience)
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size, timeout=TIMEOUT)
    return World(place.rank, place.size, device, watch)


def allow_connections() -> None:
    """Let this process open as many files as the system permits: rank 0 holds two connections to every rank."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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
