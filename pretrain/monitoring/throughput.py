"""How fast training runs against what the device could do."""

from __future__ import annotations

import re
import resource
import time
from dataclasses import dataclass

import torch

from pretrain.config.counts import flops_per_token
from pretrain.config.run import Run

PEAK_TFLOPS = {
    "A100": (312.0, 19.5),
    "A800": (312.0, 19.5),
    "H100 PCIe": (756.0, 51.2),
    "H100": (989.4, 66.9),
    "H200": (989.4, 66.9),
    "H800": (989.4, 66.9),
    "L40S": (362.1, 91.6),
    "A40": (149.7, 37.4),
    "RTX 4090": (165.2, 82.6),
    "RTX 3090": (71.0, 35.6),
}
"""Dense peaks in TFLOP/s from NVIDIA's data sheets: bf16 or fp16 on tensor cores, and fp32 without TF32, which torch
leaves off. The first name that stands in the device's name counts. Untested here: no GPU."""


@dataclass(frozen=True)
class Throughput:
    """Speed of one step, per device where it says so."""

    tokens_per_second: float
    tflops: float
    """Model FLOPs per second and device / 1e12, recomputation not counted."""
    mfu: float
    """Model FLOPs utilisation (Chowdhery et al. 2022, Appendix B): tflops / peak."""


class Meter:
    """Turns tokens and seconds into throughput. FLOPs per token are those of config/counts.py."""

    def __init__(self, run: Run, processes: int, device: torch.device) -> None:
        self._flops = flops_per_token(run.model, run.sequence_length)
        self._processes = processes
        self.peak_tflops = run.monitoring.peak_tflops or peak_tflops(device, run.precision.compute)

    def measure(self, tokens: int, seconds: float) -> Throughput:
        """Of `tokens` tokens, over all processes, in `seconds`."""
        rate = tokens / seconds
        tflops = rate * self._flops / self._processes / 1e12
        return Throughput(rate, tflops, tflops / self.peak_tflops)


def peak_tflops(device: torch.device, compute: str) -> float:
    """The device's peak: from the table by its name, on a CPU (or an unknown GPU) measured."""
    if device.type == "cuda":
        peak = known_peak(torch.cuda.get_device_name(device), compute)
        if peak is not None:
            return peak
    return measured_tflops(device, {"bf16": torch.bfloat16, "fp16": torch.float16}.get(compute, torch.float32))


def known_peak(name: str, compute: str) -> float | None:
    """The table's peak of the GPU of that name in TFLOP/s, None where it is unknown."""
    for known, (bf16, fp32) in PEAK_TFLOPS.items():
        if re.search(rf"\b{known}\b", name):
            return fp32 if compute == "fp32" else bf16
    return None


def measured_tflops(device: torch.device, dtype: torch.dtype, size: int = 1024, seconds: float = 0.3) -> float:
    """The best rate of a square matmul on the threads this process has, in TFLOP/s."""
    a, b = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until or best == 0.0:
        started = time.perf_counter()
        (a @ b).sum().item()  # item waits for the device
        best = max(best, 2 * size**3 / (time.perf_counter() - started) / 1e12)
    return best


def peak_memory_bytes(device: torch.device) -> int:
    """The most that was allocated on a GPU, or the largest resident size of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
