"""What a profile found, over all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from pretrain.monitoring.throughput import Throughput
from pretrain.profiling.record import Operator
from pretrain.profiling.split import SHOWN, Split


@dataclass(frozen=True)
class Profile:
    """The profiled steps of a run. Times are of steps under the profiler, which are slower than others."""

    run: str
    layout: str
    device: str
    """cpu, or the GPU's name."""
    steps: list[int]
    """Their numbers in the run, from 1."""
    total_steps: int
    splits: list[list[Split]]
    """[ranks][steps] seconds by part."""
    peak_bytes: list[int]
    """[ranks] the most memory: allocated on a GPU, else the largest resident size of the process."""
    speed: Throughput
    unprofiled: Throughput | None
    """Of the warm-up steps but the first, without the profiler; None where there were not enough."""
    operators: list[Operator]
    """Of rank 0, in all steps together, the dearest first."""

    @property
    def ranks(self) -> list[Split]:
        """[ranks] seconds by part, the mean of the steps."""
        return [mean(steps) for steps in self.splits]

    @property
    def mean(self) -> Split:
        """Seconds by part, the mean of ranks and steps."""
        return mean(self.ranks)

    @property
    def on_gpu(self) -> bool:
        """Whether times are those of kernels."""
        return self.device != "cpu"

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        operators = [operator._asdict() for operator in self.operators]
        return {**asdict(self), "mean": self.mean, "operators": operators}


def mean(splits: Sequence[Split]) -> Split:
    """Part by part."""
    return {name: fmean(split[name] for split in splits) for name in SHOWN}
