"""Plans as text of at most 100 columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from pretrain.config.units import short
from pretrain.planning.error import MEMORY_ERROR
from pretrain.planning.layouts.candidates import Space
from pretrain.planning.layouts.plan import Plan
from pretrain.planning.memory.stage import StageMemory

HEADINGS = " #  tensor pipe  data  schedule  ZeRO  seq  micro  recompute  offload     GB    step  tok/s/GPU  MFU"


def heading(plan: Plan) -> str:
    """What was asked."""
    run, hardware = plan.run, plan.job.hardware
    batch = f"{plan.job.samples:,} samples of {run.sequence_length:,} tokens"
    return f"{run.name}: {short(run.train.tokens)} tokens, batch {batch}, on {plan.gpus:,} x {hardware.gpu}"


def kept(space: Space) -> list[str]:
    """What the search keeps because the run says so."""
    parallel = space.run.parallel
    words = [f"{name} {getattr(parallel, name)}" for name in sorted(parallel.model_fields_set - {"auto"})]
    words += [] if space.free_micro_batch else [f"micro_batch_size {space.run.batch.micro_batch_size}"]
    return [f"as the run has it (--any searches all): {', '.join(words)}"] if words else []


def table(plans: Sequence[Plan]) -> list[str]:
    """A row for each layout, best first."""
    rows = [HEADINGS, *(_row(rank, plan) for rank, plan in enumerate(plans, 1))]
    doubt = f"    ? fits, but within {MEMORY_ERROR:.0%} of what there is: the planner may be that far off"
    return [*rows, *([doubt] if any(plan.is_tight for plan in plans) else [])]


def _row(rank: int, plan: Plan) -> str:
    parallel, layout = plan.run.parallel, plan.job.layout
    schedule = {"1f1b": "1F1B", "dualpipev": "DualPipeV"}[parallel.schedule] if layout.pipe > 1 else "-"
    sequence = "yes" if parallel.splits_sequence else "-"
    every = f"/{parallel.recompute_every}" if parallel.recompute_every > 1 else ""
    recompute = "-" if parallel.recompute == "none" else parallel.recompute + every
    offload = "-" if parallel.offload == "none" else parallel.offload
    return (
        f"{rank:>2} {layout.tensor:>7} {layout.pipe:>4} {layout.data:>5}  {schedule:<9} {parallel.zero:>4}"
        f" {sequence:>4} {plan.run.batch.micro_batch_size:>6}  {recompute:<9}  {offload:<9}"
        f" {plan.memory / 1e9:>4.0f}{'?' if plan.is_tight else ' '}{seconds(plan.time.total):>7}"
        f" {plan.tokens_per_second:>10,.0f} {plan.mfu:>4.0%}"
    )


def seconds(value: float) -> str:
    """`12.3 s`, `45.6 ms`."""
    if value >= 100:
        return f"{value:,.0f} s"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def details(plan: Plan) -> list[str]:
    """Memory of each stage, time by part, and the whole run."""
    return [*memory_lines(plan), "", *time_lines(plan), "", *run_lines(plan)]


def memory_lines(plan: Plan) -> list[str]:
    """GB on each GPU of a stage, alike stages joined."""
    names = StageMemory._fields
    capacity = plan.job.hardware.memory / 1e9
    lines = [f"memory of a GPU in GB, +-{MEMORY_ERROR:.0%}, of {capacity:.3g}"]
    lines.append(f"  {'stage':<10}" + "".join(f"{name:>12}" for name in (*names, "total")))
    rounded = [tuple(f"{part / 1e9:.2f}" for part in (*stage, stage.total)) for stage in plan.stages]
    first = 0
    for parts, alike in groupby(rounded):
        last = first + len(list(alike)) - 1
        lines.append(
            f"  {first if first == last else f'{first}-{last}':<10}" + "".join(f"{part:>12}" for part in parts)
        )
        first = last + 1
    return lines


TIMES = {
    "matmul": "products of matrices",
    "attention": "attention",
    "memory": "norms, activations, sums: bound by memory",
    "host": "waiting for the host to start kernels",
    "tensor": "exchange over the tensor axis",
    "pipe": "messages between stages",
    "data": "exchange over the data axis, waited for",
    "bubble": "idle: the pipeline fills, empties, stages differ",
    "optimizer": "update",
    "hidden": "exchange behind the passes, not waited for",
}


def time_lines(plan: Plan) -> list[str]:
    """Seconds by part, with their share of the step."""
    time, error = plan.time, plan.job.hardware.error
    within = f"+-{error:.0%}" if error else f"(not validated on {plan.job.hardware.gpu})"
    lines = [f"time of a step: {seconds(time.total)} {within}"]
    for name, value in zip(time._fields, time, strict=True):
        share = "" if name == "hidden" else f"{value / time.total:>7.1%}"
        if value:
            lines.append(f"  {name:<10}{seconds(value):>9}{share:>9}  {TIMES.get(name, '')}".rstrip())
    return lines


def run_lines(plan: Plan) -> list[str]:
    """Speed and what the whole run takes."""
    hardware, steps = plan.job.hardware, -(-plan.run.train.tokens // plan.step_tokens)
    error = hardware.error
    lines = [
        f"speed   {_about(plan.tokens_per_second, error)} tokens/s/GPU, MFU {plan.mfu:.1%}, HFU {plan.hfu:.1%}",
        f"length  {steps:,} steps, {_length(plan.days, error)}",
        f"cost    {_about(plan.gpu_hours, error)} GPU-hours",
        f"        {_about(plan.dollars, error)} dollars at {hardware.dollars_per_hour:g} an hour",
        f"energy  {_about(plan.megawatt_hours, error)} MWh at {hardware.watts:g} W a GPU",
    ]
    if plan.host_memory:
        lines.append(f"host    {plan.host_memory / 1e9:,.0f} GB of each node for what is offloaded")
    if plan.run.batch.ramp:
        lines.append("The batch ramp, whose smaller batches are slower, is not counted.")
    return lines


def _length(days: float, error: float | None) -> str:
    """In days; what takes less than two hours, in minutes."""
    return f"{_about(days, error)} days" if days >= 1 / 12 else f"{_about(days * 24 * 60, error)} minutes"


def _about(value: float, error: float | None) -> str:
    """With the error bar, both to three digits."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 4
    bar = f" +- {value * error:,.{digits}f}" if error else ""
    return f"{value:,.{digits}f}{bar}"


def plain(plan: Plan) -> dict[str, object]:
    """For JSON: seconds, bytes, and shares from 0 to 1."""
    run = plan.run
    parallel = {**run.parallel.plain(), "data": plan.job.layout.data, "micro_batch_size": run.batch.micro_batch_size}
    numbers = ["tokens_per_second", "mfu", "hfu", "days", "gpu_hours", "dollars", "megawatt_hours"]
    numbers += ["memory", "host_memory"]
    return {
        "gpus": plan.gpus,
        "layout": parallel,
        **{name: getattr(plan, name) for name in numbers},
        "step_seconds": plan.time.total,
        "time": plan.time._asdict(),
        "stages": [stage._asdict() | {"total": stage.total} for stage in plan.stages],
        "error": {"time": plan.job.hardware.error, "memory": MEMORY_ERROR},
    }
