"""torch.profiler and the GPU allocator's history around the profiled steps of one rank, and the files they leave."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from pretrain.profiling.split import Split, splits

ALLOCATIONS = 1_000_000
"""The most that the history of a GPU's memory holds."""


class Operator(NamedTuple):
    """One operator, over all profiled steps of a rank."""

    name: str
    shapes: str
    """Of its inputs; empty unless asked for."""
    calls: int
    cpu_seconds: float
    """On the host, without the operators that it calls."""
    cuda_seconds: float
    """Of the kernels that it launches itself."""
    bytes: int
    """Taken from the allocator by it, less what it gave back; on a GPU of the GPU's."""


@contextlib.contextmanager
def recorded(device: torch.device, directory: Path, rank: int, shapes: bool) -> Iterator[profile]:
    """Record what happens inside; then write this rank's trace and, on a GPU, its memory snapshot."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else it says on stderr that it starts and stops
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    recording = profile(activities=activities, record_shapes=shapes, profile_memory=True)
    with _memory_history(device, directory / f"memory-rank{rank}.pickle"), recording:
        yield recording
    recording.export_chrome_trace(str(directory / f"trace-rank{rank}.json.gz"))


@contextlib.contextmanager
def annotated() -> Iterator[None]:
    """For Nsight Systems, which records by itself: only tell it where the steps begin and end (-c cudaProfilerApi)."""
    with torch.cuda.profiler.profile():
        yield


@contextlib.contextmanager
def _memory_history(device: torch.device, path: Path) -> Iterator[None]:
    """Write every allocation of the GPU inside, for https://pytorch.org/memory_viz. Not tested here: no GPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.memory._record_memory_history(max_entries=ALLOCATIONS)
    try:
        yield
        torch.cuda.memory._dump_snapshot(str(path))  # type: ignore[no-untyped-call]
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)


def splits_of(recording: profile, device: torch.device) -> list[Split]:
    """Of each step that was recorded."""
    assert recording.profiler is not None and recording.profiler.kineto_results is not None
    return splits(recording.profiler.kineto_results.events(), device.type == "cuda")


def operators_of(recording: profile, device: torch.device, shapes: bool) -> list[Operator]:
    """Of all steps together, the dearest first; ranges are not among them."""
    on_gpu = device.type == "cuda"
    found = [_operator(one, on_gpu) for one in recording.key_averages(shapes) if not one.is_user_annotation]
    return sorted(found, key=lambda one: one.cuda_seconds if on_gpu else one.cpu_seconds, reverse=True)


def _operator(average: Any, on_gpu: bool) -> Operator:
    return Operator(
        average.key,
        str(average.input_shapes or ""),
        average.count,
        average.self_cpu_time_total * 1e-6,
        average.self_device_time_total * 1e-6,
        average.self_device_memory_usage if on_gpu else average.self_cpu_memory_usage,
    )
