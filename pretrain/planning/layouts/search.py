"""The fastest layouts that satisfy the constraint table and fit into memory.

Layouts are taken in the order of a lower bound of their step time, and looked at in full until no other can be among
the best.
"""

from __future__ import annotations

from dataclasses import replace

from pretrain.config.auto import VOCABULARY
from pretrain.config.constraints import find_problems
from pretrain.config.hardware import Hardware
from pretrain.config.layout import layout_of
from pretrain.config.run import Run
from pretrain.planning.job import Job, Practice
from pretrain.planning.layouts.candidates import Offload, Space, candidates
from pretrain.planning.layouts.plan import Plan, memory_of, plan_of
from pretrain.planning.memory.stage import host_holds, stage_memory
from pretrain.planning.timing.step import stage_passes

TOP = 10
"""Layouts that are told."""


def search(space: Space, hardware: Hardware, top: int = TOP) -> list[Plan]:
    """The `top` fastest layouts, best first; with the optimizer state on the host only when nothing fits without."""
    space = space._replace(run=with_vocabulary(space.run))
    return _best(space, hardware, top, "none") or _best(space, hardware, top, "optimizer")


def with_vocabulary(run: Run) -> Run:
    """With GPT-2's vocabulary where the tokenizer is not known yet."""
    if run.model.vocab_size:
        return run
    return run.model_copy(update={"model": run.model.model_copy(update={"vocab_size": VOCABULARY})})


def job_of(run: Run, space: Space, hardware: Hardware) -> Job:
    """A layout of `space`, as this framework executes it."""
    practice = Practice(
        attention="plain" if run.model.attention == "plain" else "flash",
        fused=run.train.compile,
        hides_tensor="backward",
        sums_whole=run.precision.compute == "bf16" and run.parallel.zero == 1,
    )
    return Job(run, layout_of(run.parallel, space.processes), hardware, space.together, practice)


def _best(space: Space, hardware: Hardware, top: int, offload: Offload) -> list[Plan]:
    jobs = [job_of(run, space, hardware) for run in candidates(space, offload)]
    bounds = _Bounds()
    found: list[Plan] = []
    for bound, job in sorted(((bounds.least_time(job), job) for job in jobs), key=lambda pair: pair[0]):
        if len(found) == top and bound > found[-1].time.total:
            break
        if (plan := _plan_if_valid(job)) is not None:
            found = sorted([*found, plan], key=order)[:top]
    return found


def order(plan: Plan) -> tuple[float, int, int, int]:
    """By time; of equal ones, told to four digits, the simpler layout."""
    return float(f"{plan.time.total:.3e}"), plan.job.layout.pipe, plan.job.layout.tensor, plan.run.parallel.zero


def _plan_if_valid(job: Job) -> Plan | None:
    """The cheapest question first. The first stage keeps most micro-batches, so that it answers for most layouts."""
    if stage_memory(job, 0).total > job.hardware.memory or find_problems(job.run, job.layout.processes, job.node_size):
        return None
    if not host_holds(job):
        return None
    stages = memory_of(job)
    return plan_of(job, stages) if max(stage.total for stage in stages) <= job.hardware.memory else None


class _Bounds:
    """The least seconds of a step: as if every stage took as long as any other, and nothing but its passes."""

    def __init__(self) -> None:
        self.passes: dict[tuple[object, ...], float] = {}

    def least_time(self, job: Job) -> float:
        """All micro-batches through a stage, and the time in which 1F1B fills and empties."""
        parallel, pipe = job.run.parallel, job.layout.pipe
        fill = pipe - 1 if parallel.schedule == "1f1b" else 0
        return (job.micro_batches + fill) * self._all_layers(job) / pipe

    def _all_layers(self, job: Job) -> float:
        """Seconds of both passes of a micro-batch through the model. Neither pipe nor data changes them."""
        parallel = job.run.parallel
        fields = (parallel.tensor, parallel.zero, parallel.sequence_parallel, parallel.recompute)
        key = (*fields, job.run.batch.micro_batch_size)
        if key not in self.passes:
            run = job.run.model_copy(update={"parallel": parallel.model_copy(update={"pipe": 1})})
            both = stage_passes(replace(job, run=run, layout=job.layout._replace(pipe=1)), 0)
            self.passes[key] = both.forward.total + both.backward.total
        return self.passes[key]
