"""The schema of who prepares a corpus: processes on this machine, or jobs on a cluster."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pretrain.config.section import Section
from pretrain.config.units import Bytes, Count, Seconds


class Executor(Section):
    """Where the work is done. Never changes the result."""

    kind: Literal["local", "slurm"] = "local"
    """local: processes on this machine (`workers`). slurm: jobs that follow one another, through datatrove."""
    tasks: Count = Field(100, ge=1, le=1000)
    """Jobs that a phase is divided into: one array, whose end the next phase waits for."""
    workers: int = Field(-1, ge=-1)
    """Of them at a time; -1: as many as the cluster gives."""
    partition: str | None = None
    """Needed for slurm."""
    account: str | None = None
    qos: str | None = None
    time: Seconds = Field(86400.0, gt=0)
    """Limit of a job, such as `4 h`."""
    memory: Bytes = Field(8_000_000_000, ge=1)
    """Of a job; given to SLURM in whole GB for each of its cpus."""
    cpus: Count = Field(1, ge=1)
    """Of a job."""
    options: dict[str, str] = Field(default_factory=dict)
    """More options of sbatch, such as `constraint: cpu`."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "slurm" and not self.partition:
            raise ValueError("slurm needs a partition; fix: write `partition:` (sinfo lists them)")
        return self
