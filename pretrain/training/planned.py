"""Planned against measured: once in a run, a row with what the planner says of its steps and what they took."""

from __future__ import annotations

import os
import statistics

import torch

from pretrain.checkpoint.state import TrainState
from pretrain.config.run import Run
from pretrain.monitoring.metrics import Metrics, Row
from pretrain.parallel.place import find_place
from pretrain.training.setup import Session

AT = 20
"""The step after which it is told, or the last one where there are fewer."""


class Comparison:
    """On the rank that writes, where the run says on which hardware it is: `cluster.gpus` tells GPUs from CPUs. Costs
    nothing before its step."""

    def __init__(self, session: Session, metrics: Metrics) -> None:
        self._session, self._metrics = session, metrics
        cluster, on_gpu = session.run.cluster, session.world.device.type == "cuda"
        self._wanted = session.world.is_writer and cluster.hardware is not None and cluster.gpus == on_gpu
        self._at = min(AT, session.total_steps)
        self._steps: list[tuple[int, float]] = []

    def after(self, state: TrainState, seconds: float) -> None:
        """A step took `seconds`."""
        if not self._wanted or state.step > self._at:
            return
        self._steps.append((self._session.plan.batch(state.step - 1)[1], seconds))
        if state.step == self._at:
            self._tell(state)

    def _tell(self, state: TrainState) -> None:
        """Of the last step's batch, the median of the later half: the first steps warm up."""
        samples = self._steps[-1][0]
        alike = [seconds for size, seconds in self._steps if size == samples]
        measured = statistics.median(alike[len(alike) // 2 :])
        try:
            row = compared(self._session.run, self._session.world.size, samples, measured, self._session.world.device)
        except Exception as error:  # a planner that fails is no reason to end a training
            self._metrics.event(state.step, state.tokens, f"this run cannot be planned: {error!r}")
        else:
            self._metrics.write("planned", {"step": state.step, "tokens": state.tokens, **row})


def compared(run: Run, processes: int, samples: int, seconds: float, device: torch.device) -> Row:
    """What is planned of a step of `samples` samples, and what was measured: `seconds`, and the memory of a GPU.

    Memory of a CPU process is not comparable: Python and all libraries are in it.
    """
    from pretrain.planning.memory.stage import stage_memory
    from pretrain.planning.timing.step import step_time
    from pretrain.planning.trained import trained_job

    assert run.cluster.hardware is not None
    node_size = find_place(os.environ).node_size or run.cluster.gpus_per_node
    job = trained_job(run, run.cluster.hardware, processes, node_size, samples)
    planned, tokens = step_time(job).total, samples * run.sequence_length
    row = {
        "step_seconds": planned,
        "measured_step_seconds": seconds,
        "tokens_per_second": tokens / planned,
        "measured_tokens_per_second": tokens / seconds,
    }
    if device.type != "cuda":
        return row
    free, whole = torch.cuda.mem_get_info(device)  # the allocator gives nothing back: what was needed at the most
    return {**row, "memory_bytes": stage_memory(job, 0).total, "measured_memory_bytes": whole - free}
