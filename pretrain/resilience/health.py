"""Whether machines are fit to train: what each rank measured before the first step, judged. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pretrain.config.resilience import Health


@dataclass(frozen=True)
class Reading:
    """What one rank measured. None where there was nothing to measure."""

    rank: int
    host: str
    devices: int
    """GPUs that this process sees."""
    device: str
    """Their name, or "cpu"."""
    memory_free: float | None
    """Free share of the GPU's memory before anything of ours is in it."""
    tflops: float
    """Of a square matmul; on a CPU per second of processor time, so that neighbours do not count."""
    peak_tflops: float | None
    """Of the device, where the table has it."""
    disk_free: int
    """Bytes free where temporary files go."""
    clock: float
    """Seconds by which the machine's clock is ahead of rank 0's."""
    sees_directory: bool
    """Whether what rank 0 wrote into the run directory is there."""
    inside: float | None
    """GB/s of an all-reduce among the ranks of this machine."""
    between: tuple[float, ...] = ()
    """GB/s of exchanges with the machines before and after this one, in the order of ranks."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with a machine. `bad`: it should not be used."""

    host: str
    what: str
    bad: bool = True


def judge(readings: Sequence[Reading], health: Health) -> list[Finding]:
    """What is wrong, in the order of ranks; empty where all is well."""
    usual = _median([reading.tflops for reading in readings])
    inside = _median([reading.inside for reading in readings if reading.inside])
    between = _median([rate for reading in readings for rate in reading.between])
    devices = max(reading.devices for reading in readings)
    findings = []
    for reading in readings:
        for what, bad in _of_one(reading, devices, usual, inside, between, health):
            findings.append(Finding(reading.host, f"rank {reading.rank} on {reading.host}: {what}", bad))
    return findings


def _of_one(
    reading: Reading, devices: int, usual: float, inside: float, between: float, health: Health
) -> list[tuple[str, bool]]:
    share, peak = reading.tflops / usual, reading.peak_tflops
    rows = [
        (reading.devices < devices, f"sees {reading.devices} GPUs, others {devices}", True),
        (
            reading.memory_free is not None and reading.memory_free < health.memory_free,
            f"only {reading.memory_free or 0:.0%} of its GPU's memory is free: another process holds it",
            True,
        ),
        (share < health.matmul, f"its matmul runs at {share:.2f} of the others' {usual:.3g} TFLOP/s", True),
        (
            peak is not None and reading.tflops < health.peak * (peak or 0),
            f"its matmul reaches {reading.tflops:.3g} of the {peak or 0:.3g} TFLOP/s of a {reading.device}",
            True,
        ),
        (reading.disk_free < health.disk_free, f"has {reading.disk_free / 1e9:.2f} GB free for temporary files", True),
        (abs(reading.clock) > health.clock, f"its clock is off by {reading.clock:+.0f} s", False),
        (not reading.sees_directory, "does not see the run directory of rank 0: it must be shared", True),
        (
            reading.inside is not None and reading.inside < health.bandwidth * inside,
            f"all-reduce inside the machine at {reading.inside or 0:.3g} GB/s, others {inside:.3g}",
            True,
        ),
        (
            # with one slow neighbour the neighbour may be the cause
            len(reading.between) > 1 and max(reading.between) < health.bandwidth * between,
            f"exchanges with both neighbours at {max(reading.between, default=0):.3g} GB/s, others {between:.3g}",
            True,
        ),
    ]
    return [(what, bad) for wrong, what, bad in rows if wrong]


def summary(readings: Sequence[Reading]) -> str:
    """One line about machines that are well."""
    hosts = len({reading.host for reading in readings})
    rates = [reading.tflops for reading in readings]
    line = f"health: {hosts} machine{'s' if hosts > 1 else ''}, matmul {min(rates):.3g} to {max(rates):.3g} TFLOP/s"
    if inside := [reading.inside for reading in readings if reading.inside]:
        line += f", all-reduce inside {min(inside):.3g} to {max(inside):.3g} GB/s"
    if between := [rate for reading in readings for rate in reading.between]:
        line += f", between {min(between):.3g} to {max(between):.3g} GB/s"
    return line


def _median(values: Sequence[float]) -> float:
    return median(values) if values else 0.0
