"""The job that a training run is: its own layout and batch, as this framework executes it."""

from __future__ import annotations

from pretrain.config.hardware import Hardware
from pretrain.config.run import Run
from pretrain.config.units import BatchSize
from pretrain.planning.job import Job
from pretrain.planning.layouts.candidates import Space
from pretrain.planning.layouts.search import job_of


def trained_job(run: Run, hardware: Hardware, processes: int, node_size: int, samples: int) -> Job:
    """Of steps with `samples` samples, which those of a batch ramp have fewer of; the layout is that of `run`."""
    size = BatchSize(amount=samples, unit="samples")
    batch = run.batch.model_copy(update={"global_batch_size": size})
    run = run.model_copy(update={"batch": batch})
    return job_of(run, Space(run, processes, node_size), hardware)
