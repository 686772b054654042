"""One type of GPU, its links and its network: what the planner knows of a machine. Figures lie in configs/clusters/."""

from __future__ import annotations

from pydantic import Field

from pretrain.config.section import Section
from pretrain.config.units import Bytes


class Efficiency(Section):
    """Shares of the peaks above that real kernels reach: few, fitted to published runs (docs/planning-errors.md)."""

    matmul: float = Field(0.8, gt=0, le=1)
    """Of a large product of matrices whose sides fill all tiles."""
    memory: float = Field(0.8, gt=0, le=1)
    """Of bandwidth, by an elementwise kernel or a norm."""
    flash: float = Field(0.55, gt=0, le=1)
    """Of `tflops`, by FlashAttention 2 with heads of 128."""
    links: float = Field(0.75, gt=0, le=1)
    """Of `link_bandwidth`, by a collective of large messages."""
    network: float = Field(0.75, gt=0, le=1)
    """Of `network_bandwidth`, by a collective of large messages."""


class Hardware(Section):
    """A GPU and how it reaches the others. Peaks are the data sheet's; what is reached of them is `efficiency`."""

    gpu: str
    """Name, such as a100-80gb."""
    tflops: float = Field(gt=0)
    """Peak of dense bf16 and fp16 products with fp32 sums, in 10^12 FLOPs per second."""
    fp32_tflops: float = Field(gt=0)
    """Peak of fp32 products as PyTorch does them by default, without TF32."""
    memory: Bytes = Field(gt=0)
    """Bytes of memory that a process can allocate."""
    memory_bandwidth: float = Field(gt=0)
    """GB/s."""
    multiprocessors: int = Field(ge=1)
    """Tiles of a product are given out to so many at once; their last wave may be part empty."""
    tile: tuple[int, int] = (256, 128)
    """Rows and columns of a product that one of them works on at a time."""
    link_bandwidth: float = Field(gt=0)
    """GB/s that a GPU sends to others of its node."""
    link_latency: float = Field(5e-6, ge=0)
    """Seconds of a step of a collective inside a node."""
    network_bandwidth: float = Field(gt=0)
    """GB/s that a GPU sends to other nodes when all of the node do: the node's adapters / its GPUs."""
    network_latency: float = Field(15e-6, ge=0)
    """Seconds of a step of a collective between nodes."""
    launch_seconds: float = Field(2e-5, ge=0)
    """Seconds of the host for each kernel that it starts, Python and autograd included."""
    host_bandwidth: float = Field(20.0, gt=0)
    """GB/s between a GPU and the host's memory when all of the node use it: of offloaded states."""
    host_memory: Bytes | None = Field(None, gt=0)
    """Bytes of a node's own memory, for what is offloaded. None: not checked."""
    watts: float = Field(gt=0)
    """Of a GPU under load, with its share of the node."""
    dollars_per_hour: float = Field(ge=0)
    """Of one GPU."""
    error: float | None = Field(None, gt=0, lt=1)
    """Relative half-width of planned times: four of five published steps on this GPU are within it. None: not known."""
    efficiency: Efficiency = Efficiency()
    """What is reached of the peaks."""
