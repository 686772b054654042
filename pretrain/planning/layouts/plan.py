"""One layout with what it costs: memory of every stage, time of a step, and what follows for the whole run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pretrain.config.run import Run
from pretrain.planning.error import MEMORY_ERROR
from pretrain.planning.flops import step_flops
from pretrain.planning.job import Job
from pretrain.planning.memory.stage import StageMemory, host_bytes, stage_memory
from pretrain.planning.timing.step import StepTime, step_time

DAY = 86_400
"""Seconds."""


@dataclass(frozen=True)
class Plan:
    """A run in one layout on one number of GPUs. Times are of the full batch; a batch ramp adds to them."""

    job: Job
    stages: tuple[StageMemory, ...]
    """By place on the pipe axis: bytes on each GPU there."""
    time: StepTime
    """Seconds of a step."""

    @property
    def run(self) -> Run:
        """With the layout in its `parallel` section."""
        return self.job.run

    @property
    def gpus(self) -> int:
        """All."""
        return self.job.layout.processes

    @property
    def fullest(self) -> int:
        """The place on the pipe axis that needs most memory; of equal ones the first."""
        return max(range(len(self.stages)), key=lambda pipe: self.stages[pipe].total)

    @property
    def memory(self) -> float:
        """Bytes on the fullest GPU."""
        return self.stages[self.fullest].total

    @property
    def host_memory(self) -> float:
        """Bytes of each node's host for what is offloaded there."""
        return host_bytes(self.job)

    @property
    def is_tight(self) -> bool:
        """Whether it fits by less than the planner's error."""
        return self.memory * (1 + MEMORY_ERROR) > self.job.hardware.memory

    @property
    def step_tokens(self) -> int:
        """Of the full batch."""
        return self.job.samples * self.run.sequence_length

    @property
    def tokens_per_second(self) -> float:
        """Of one GPU."""
        return self.step_tokens / self.time.total / self.gpus

    @cached_property
    def mfu(self) -> float:
        """Model FLOPs utilisation: what training needs, as a share of the peak (Chowdhery et al. 2022, appendix B)."""
        return step_flops(self.run).model * self.tokens_per_second / self.job.peak

    @cached_property
    def hfu(self) -> float:
        """Hardware FLOPs utilisation: what is executed, as a share of the peak."""
        return step_flops(self.run).executed * self.tokens_per_second / self.job.peak

    @property
    def days(self) -> float:
        """For all tokens of the run."""
        return self.run.train.tokens / self.step_tokens * self.time.total / DAY

    @property
    def gpu_hours(self) -> float:
        """For all tokens of the run."""
        return self.days * 24 * self.gpus

    @property
    def dollars(self) -> float:
        """For all tokens of the run, at the hardware's price."""
        return self.gpu_hours * self.job.hardware.dollars_per_hour

    @property
    def megawatt_hours(self) -> float:
        """For all tokens of the run."""
        return self.gpu_hours * self.job.hardware.watts / 1e6


def plan_of(job: Job, stages: tuple[StageMemory, ...] | None = None) -> Plan:
    """`job` with its costs; `stages` where they are known already."""
    return Plan(job, stages or memory_of(job), step_time(job))


def memory_of(job: Job) -> tuple[StageMemory, ...]:
    """Bytes on a GPU of each stage."""
    return tuple(stage_memory(job, pipe) for pipe in range(job.layout.pipe))
