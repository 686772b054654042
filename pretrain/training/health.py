"""The health check before the first step: every rank measures its machine, all hear the verdict."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from pretrain.config.errors import RunError
from pretrain.config.resilience import Health
from pretrain.monitoring.throughput import known_peak
from pretrain.parallel.process import World
from pretrain.parallel.watch import host_name
from pretrain.resilience.health import Reading, judge, summary

SIZE = {"cpu": 512, "cuda": 8192}
"""Rows and columns of the matmul."""
MESSAGE = {"cpu": 2**18, "cuda": 2**26}
"""Bytes exchanged: enough on a GPU to see the bandwidth, little on a CPU."""


class UnhealthyError(RunError):
    """Machines are not fit to train."""

    def __init__(self, message: str, bad_hosts: tuple[str, ...]) -> None:
        super().__init__(message)
        self.bad_hosts = bad_hosts


def check_health(world: World, directory: Path, health: Health) -> list[str]:
    """Measure, compare and return what there is to tell. All ranks call it together.

    Raises UnhealthyError on every rank alike, with the machines that should not be used.
    """
    if not health.check:
        return []
    readings = world.gather(_measure(world, directory))
    findings = judge(readings, health)
    told = [finding.what for finding in findings]
    if bad := tuple(dict.fromkeys(finding.host for finding in findings if finding.bad)):
        raise UnhealthyError(f"not fit to train: {', '.join(bad)} ({'; '.join(told)})", bad)
    return [summary(readings), *told]


def _measure(world: World, directory: Path) -> Reading:
    kind, gpu = world.device.type, world.device.type == "cuda"
    free, total = torch.cuda.mem_get_info(world.device) if gpu else (0, 0)
    sees = _sees(world, directory)
    clock = _clock(world)
    peak = known_peak(torch.cuda.get_device_name(world.device), "bf16") if gpu else None
    hosts = world.gather(host_name())
    return Reading(
        rank=world.rank,
        host=host_name(),
        devices=torch.cuda.device_count() if gpu else 0,
        device=torch.cuda.get_device_name(world.device) if gpu else "cpu",
        memory_free=free / total if gpu else None,
        tflops=_matmul(world.device),
        peak_tflops=peak,
        disk_free=shutil.disk_usage(tempfile.gettempdir()).free,
        clock=clock,
        sees_directory=sees,
        inside=_inside(world, hosts, MESSAGE[kind]),
        between=_between(world, hosts, MESSAGE[kind]),
    )


def _sees(world: World, directory: Path) -> bool:
    """Whether this rank sees a file that rank 0 made just now."""
    name = world.first(f"health-{time.time_ns()}" if world.is_writer else None)
    if world.is_writer:
        (directory / f"{name}").touch()
    world.barrier()
    seen = (directory / f"{name}").exists()
    world.barrier()
    if world.is_writer:
        (directory / f"{name}").unlink()
    return seen


def _clock(world: World) -> float:
    """Seconds by which this machine's clock is ahead of rank 0's, as well as a barrier can tell."""
    world.barrier()
    now = time.time()
    return now - world.gather(now)[0]


def _matmul(device: torch.device, repeats: int = 5) -> float:
    """The best of some square matmuls in TFLOP/s; on a CPU per second of processor time."""
    on_gpu, size = device.type == "cuda", SIZE[device.type]
    a = torch.ones(size, size, device=device, dtype=torch.bfloat16 if on_gpu else torch.float32)
    clock: Callable[[], float] = time.perf_counter if on_gpu else time.process_time
    best = float("inf")
    for _ in range(repeats):
        started = clock()
        (a @ a)[0, 0].item()  # waits for the device
        best = min(best, clock() - started)
    return 2 * size**3 / max(best, 1e-9) / 1e12


def _inside(world: World, hosts: list[str], size: int) -> float | None:
    """GB/s of an all-reduce among the ranks of this machine (bus bandwidth: 2 (n - 1) / n of the bytes)."""
    groups = {host: [rank for rank, at in enumerate(hosts) if at == host] for host in dict.fromkeys(hosts)}
    if all(len(ranks) == 1 for ranks in groups.values()):
        return None
    made = {host: dist.new_group(ranks) for host, ranks in groups.items()}  # every rank makes every group
    mine = hosts[world.rank]
    count = len(groups[mine])
    data = torch.ones(size // 4, device=world.device)
    seconds = _best(lambda: dist.all_reduce(data, group=made[mine]), world)
    dist.destroy_process_group(made[mine])  # its buffers would stay for the whole run
    return 2 * (count - 1) / count * size / seconds / 1e9 if count > 1 else None


def _between(world: World, hosts: list[str], size: int) -> tuple[float, ...]:
    """GB/s of exchanges of the first rank of each machine with those of its two neighbours in a ring."""
    firsts = [hosts.index(host) for host in dict.fromkeys(hosts)]
    if len(firsts) < 2:
        return ()
    rates = []
    for shift in (0, 1):  # pairs (0 1) (2 3) ..., then (1 2) (3 4) ... (last 0)
        ring = firsts[shift:] + firsts[:shift]
        pairs = dict(zip(ring[::2], ring[1::2], strict=False))
        partner = (pairs | {b: a for a, b in pairs.items()}).get(world.rank)
        world.barrier()
        if partner is not None:
            rates.append(size / _exchange(partner, size, world) / 1e9)
    return tuple(rates) if len(firsts) > 2 else tuple(rates[:1])  # two machines have one link


def _exchange(partner: int, size: int, world: World) -> float:
    out, back = (torch.ones(size // 4, device=world.device) for _ in range(2))

    def both() -> None:
        ops = [dist.P2POp(dist.isend, out, partner), dist.P2POp(dist.irecv, back, partner)]
        for work in dist.batch_isend_irecv(ops):
            work.wait()

    return _best(both, world)


def _best(action: Callable[[], object], world: World, repeats: int = 4) -> float:
    """The shortest of some calls, in seconds; the first, which makes connections, does not count."""
    best = float("inf")
    for repeat in range(repeats):
        started = time.perf_counter()
        action()
        if world.device.type == "cuda":
            torch.cuda.synchronize(world.device)
        best = min(best, time.perf_counter() - started) if repeat else best
    return max(best, 1e-9)
