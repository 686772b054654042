"""A cluster's efficiencies fitted to runs on it: those at which planned step times are the measured ones.

Logarithms of a few scales are fitted by least squares (Gauss-Newton): of products (matmul and flash together), of
memory, and of the network where a run has data ranks on several nodes. Fewer runs than scales give the smallest change
that explains them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import exp, log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pretrain.config.hardware import Efficiency, Hardware
from pretrain.planning.job import Job
from pretrain.planning.timing.step import step_time

SCALES = {"products": ("matmul", "flash"), "memory": ("memory",), "network": ("network",)}
"""What is fitted, and the fields of Efficiency that it moves."""
ROUNDS, STEP, LARGEST = 30, 0.02, 0.7
"""Of Gauss-Newton; of a numeric derivative; and the most that a logarithm moves in a round."""
LEAST = 0.001
"""Efficiency below which no kernel is."""

Column = npt.NDArray[np.float64]


class Measured(NamedTuple):
    """What a run took."""

    name: str
    job: Job
    seconds: float
    """Of a step, without the wait for data."""

    def error(self, hardware: Hardware) -> float:
        """planned / measured - 1 with these figures."""
        return step_time(replace(self.job, hardware=hardware)).total / self.seconds - 1


def calibrate(runs: Sequence[Measured], hardware: Hardware) -> Hardware:
    """`hardware` with the efficiencies that fit `runs` best. One that would have to be above 1 stays there."""
    free = [name for name in SCALES if name != "network" or any(map(_crosses_nodes, runs))]
    fitted = hardware
    while free:
        logs = _least_squares(partial(_misfit, runs, fitted, tuple(free)), len(free))
        fitted, over = _scaled(fitted, dict(zip(free, logs, strict=True)))
        if not over:
            break
        free = [name for name in free if name not in over]
    return fitted


def _crosses_nodes(run: Measured) -> bool:
    layout = run.job.layout
    return layout.data > 1 and layout.data * layout.tensor > run.job.node_size


def _misfit(runs: Sequence[Measured], base: Hardware, names: Sequence[str], logs: Column) -> Column:
    """By run: log(planned / measured)."""
    hardware, _ = _scaled(base, dict(zip(names, logs, strict=True)))
    return np.array([log(1 + run.error(hardware)) for run in runs])


def _least_squares(misfit: Callable[[Column], Column], size: int) -> Column:
    """Where the sum of squares is least; of several such places the nearest to nothing.

    Also looked for from places where one scale is far down: what is not slow enough to be seen has no slope.
    """
    starts = [np.zeros(size), *-np.eye(size)]
    ends = [_descend(misfit, start) for start in starts]
    return min(ends, key=lambda logs: round(float(misfit(logs) @ misfit(logs)), 8))


def _descend(misfit: Callable[[Column], Column], logs: Column) -> Column:
    found = misfit(logs)
    for _ in range(ROUNDS):
        slopes = np.stack([(misfit(logs + STEP * unit) - found) / STEP for unit in np.eye(len(logs))], axis=1)
        move = np.linalg.lstsq(slopes, -found, rcond=1e-3)[0]
        move *= min(1.0, LARGEST / max(np.abs(move).max(), 1e-12))
        for _ in range(6):  # halved until it helps: planned times have kinks
            if (better := misfit(logs + move)) @ better < found @ found:
                break
            move = move / 2
        else:
            break
        logs, found = logs + move, better
    return logs


def _scaled(hardware: Hardware, logs: dict[str, float]) -> tuple[Hardware, set[str]]:
    """With efficiencies times exp(log), and the scales that would have gone beyond what can be."""
    efficiency, over = hardware.efficiency.model_dump(), set()
    for name, value in logs.items():
        for field in SCALES[name]:
            wanted = efficiency[field] * exp(value)
            efficiency[field] = min(1.0, max(LEAST, wanted))
            if wanted > 1.0 + 1e-9:
                over.add(name)
    return hardware.model_copy(update={"efficiency": Efficiency.model_validate(efficiency)}), over
