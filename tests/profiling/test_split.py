"""The split of a step, by hand: nested ranges, overlapping kernels, idle GPUs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pretrain.profiling.split import Kernel, Span, device_pieces, host_pieces, splits, summed

STEP = Span("step 1", 0.0, 10.0)
HOST = [
    Span("data", 0.0, 2.0),
    Span("forward", 2.0, 4.0),
    Span("backward", 4.0, 8.0),
    Span("communication", 5.0, 6.5),  # inside backward: taken out of it
    Span("optimizer", 8.0, 9.0),
]
ASKED = {"data": 0.5, "forward": 2.5, "backward": 4.5, "optimizer": 8.5}
"""When each part launches its kernels."""


def test_on_a_cpu_the_innermost_range_counts() -> None:
    assert summed(host_pieces(STEP, HOST)) == {
        "data": 2.0,
        "forward": 2.0,
        "backward": 2.5,
        "communication": 1.5,
        "optimizer": 1.0,
        "rest": 1.0,
    }


def test_ranges_of_other_steps_are_cut_off() -> None:
    assert summed(host_pieces(Span("step 2", 3.0, 4.5), HOST))["backward"] == 0.5
    assert [piece.name for piece in host_pieces(STEP, [])] == ["rest"]


def kernel(name: str, start: float, end: float, part: str = "forward") -> Kernel:
    return Kernel(name, start, end, ASKED[part])


def test_on_a_gpu_kernels_count_for_the_range_that_launched_them() -> None:
    """They run later than they are asked for: those of backward until after the host's range has ended."""
    kernels = [kernel("gemm", 3.0, 5.0), kernel("gemm", 5.0, 8.5, "backward"), kernel("adam", 8.5, 9.75, "optimizer")]
    split = summed(device_pieces(STEP, host_pieces(STEP, HOST), kernels))
    assert split == {
        "data": 2.0,  # idle while the host waits for the loader
        "forward": 2.0,
        "backward": 3.5,
        "communication": 0.0,
        "optimizer": 1.25,
        "rest": 1.25,
    }


def test_communication_behind_computation_costs_nothing() -> None:
    kernels = [kernel("gemm", 4.0, 7.0, "backward"), kernel("ncclDevKernel_AllReduce_Sum_bf16_RING", 5.0, 8.0)]
    split = summed(device_pieces(STEP, host_pieces(STEP, HOST), kernels))
    assert (split["backward"], split["communication"]) == (3.0, 1.0)
    assert sum(split.values()) == 10.0


@dataclass
class Event:
    """One of Kineto's, in seconds."""

    label: str
    start: float
    seconds: float
    device: str = "CPU"
    thread: int = 1
    id: int = 0
    asked_by: int = 0
    annotation: bool = False
    asynchronous: bool = False

    name = lambda self: self.label  # noqa: E731
    start_ns = lambda self: 1_700_000_000_000_000_000 + int(self.start * 1e9)  # noqa: E731
    duration_ns = lambda self: int(self.seconds * 1e9)  # noqa: E731
    device_type = lambda self: f"DeviceType.{self.device}"  # noqa: E731
    start_thread_id = lambda self: self.thread  # noqa: E731
    correlation_id = lambda self: self.id  # noqa: E731
    linked_correlation_id = lambda self: self.asked_by  # noqa: E731
    is_user_annotation = lambda self: self.annotation  # noqa: E731
    is_async = lambda self: self.asynchronous  # noqa: E731


EVENTS = [
    Event("step 2", 4, 2, annotation=True),
    Event("step 1", 0, 4, annotation=True),
    Event("forward", 1, 2, annotation=True),
    Event("c10d::allreduce_", 2, 0.5),
    Event("gloo:all_reduce", 2, 1, asynchronous=True),
    Event("backward", 0, 4, thread=2),  # of another thread
    Event("aten::mm", 1.25, 0.25, id=7),
    Event("cudaLaunchKernel", 1.25, 0.25, id=7000, asked_by=7),
    Event("gemm", 3, 0.75, device="CUDA", asked_by=7),
    Event("forward", 3, 1, device="CUDA", annotation=True, asked_by=7),
]


def test_a_trace_of_a_cpu() -> None:
    first, second = splits(EVENTS, has_device=False)
    assert first == pytest.approx({**dict.fromkeys(first, 0.0), "forward": 1.5, "communication": 0.5, "rest": 2.0})
    assert second == pytest.approx({**dict.fromkeys(first, 0.0), "rest": 2.0})


def test_a_trace_of_a_gpu() -> None:
    first, _ = splits(EVENTS, has_device=True)
    assert first == pytest.approx({**dict.fromkeys(first, 0.0), "forward": 0.75, "rest": 3.25})
