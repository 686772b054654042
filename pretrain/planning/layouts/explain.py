"""The arithmetic of a plan with its numbers put in, for a person who wants to follow it with a calculator."""

from __future__ import annotations

from pretrain.config.run import Run
from pretrain.planning.flops import step_flops
from pretrain.planning.layouts.explain_time import part_lines
from pretrain.planning.layouts.plan import DAY, Plan
from pretrain.planning.layouts.text import seconds
from pretrain.planning.memory.activations import stage_bytes
from pretrain.planning.memory.stage import COMMUNICATOR, CONTEXT, in_flight
from pretrain.planning.parts import parts_of, stage_layers


def explain(plan: Plan) -> list[str]:
    """Memory of the fullest stage, time of a step, and the whole run."""
    return [*_memory(plan), "", *_time(plan), "", *_whole(plan)]


def _memory(plan: Plan) -> list[str]:
    run, layout, pipe = plan.run, plan.job.layout, plan.fullest
    stage, count = plan.stages[pipe], parts_of(run, pipe).total
    layers = ", ".join(_names(run, part) for part in stage_layers(run, pipe).values())
    states = zip(("weights", "gradients", "optimizer"), stage[:3], (3, 2, 1), strict=True)
    return [
        f"memory of stage {pipe}, the fullest ({layers})",
        f"  parameters   P = {count:,} on each of {layout.tensor} tensor ranks",
        *(_states(name, held, count, layout.data if run.parallel.zero >= zero else 1) for name, held, zero in states),
        *_activations(plan, pipe),
        _buffers(plan, stage.buffers),
        f"  margin       {stage.margin / max(1.0, stage.activations):.0%} of activations = {_gb(stage.margin)}",
        f"  total        {_gb(stage.total)} of {_gb(plan.job.hardware.memory)}",
    ]


def _activations(plan: Plan, pipe: int) -> list[str]:
    """Of each stage at that place of the pipe axis."""
    run, job = plan.run, plan.job
    kept = job.practice.keeps.storing(run, job.practice.attention != "flash")
    parts = [
        f"{in_flight(job, pipe, stage):.4g} x {stage_bytes(run, layers, kept) / 1e9:.4g} GB"
        for stage, layers in stage_layers(run, pipe).items()
    ]
    total = _gb(plan.stages[pipe].activations)
    what = f"micro-batches in flight x what one keeps, recompute {run.parallel.recompute}"
    return [f"  activations  {what}: {' + '.join(parts)} = {total}"]


def _buffers(plan: Plan, held: float) -> str:
    axes = sum(size > 1 for size in plan.job.layout) if plan.run.cluster.gpus else 0
    apart = f"{CONTEXT / 1e9:g} + {axes} axes x {COMMUNICATOR / 1e9:g} GB" if axes else f"{CONTEXT / 1e9:g} GB"
    what = "CUDA and NCCL" if plan.run.cluster.gpus else "Python and its libraries"
    return f"  buffers      {what} {apart}; exchange and single operators the rest = {_gb(held)}"


def _states(name: str, held: float, count: int, ranks: int) -> str:
    """Of one kind; what is on the host takes nothing."""
    shared = f" / {ranks} data ranks" if ranks > 1 else ""
    return f"  {name:<11}  P x {held * ranks / count:.3g} bytes{shared} = {_gb(held)}"


def _time(plan: Plan) -> list[str]:
    run, job, time, flops = plan.run, plan.job, plan.time, step_flops(plan.run)
    micro, many, rate = run.batch.micro_batch_size, job.micro_batches, time.matmul + time.attention
    share = flops.executed * plan.step_tokens / plan.gpus
    lines = [
        "time of a step",
        f"  micro-batches  {job.samples:,} samples / ({job.layout.data} data x {micro} samples) = {many:,.4g}",
        f"  model FLOPs    {flops.model:.4g} per token x {plan.step_tokens:,} tokens"
        f" = {flops.model * plan.step_tokens:.4g}",
        f"  executed       + {flops.padding:.3g} padding + {flops.recompute:.3g} recomputed per token;"
        f" / {plan.gpus:,} GPUs = {share:.4g}",
        f"  products       {seconds(rate)} matmul and attention: {share / rate / 1e12:.4g}"
        f" of {plan.job.peak / 1e12:.4g} TFLOP/s on the slowest stage's share",
    ]
    lines += part_lines(plan)
    parts = [f"{seconds(value)} {name}" for name, value in time._asdict().items() if value and name != "hidden"]
    rows = [" + ".join(parts[first : first + 4]) for first in range(0, len(parts), 4)]
    step = "\n                 + ".join(rows)
    return [*lines, f"  step           {step}", f"                 = {seconds(time.total)}"]


def _whole(plan: Plan) -> list[str]:
    run, hardware, total = plan.run, plan.job.hardware, plan.time.total
    flops, rate = step_flops(run), f"{plan.tokens_per_second:,.4g}"
    return [
        "the whole run",
        f"  speed  {plan.step_tokens:,} tokens / {seconds(total)} / {plan.gpus:,} GPUs = {rate} tokens/s/GPU",
        f"  MFU    {flops.model:.4g} x {rate} / {plan.job.peak:.4g} = {plan.mfu:.1%}",
        f"  HFU    {flops.executed:.4g} x {rate} / {plan.job.peak:.4g} = {plan.hfu:.1%}",
        f"  days   {run.train.tokens:,} / {plan.step_tokens:,} x {seconds(total)} / {DAY:,} = {plan.days:,.4g}",
        f"  cost   {plan.days:,.4g} x 24 x {plan.gpus:,} = {plan.gpu_hours:,.0f} GPU-hours"
        f" x {hardware.dollars_per_hour:g} = {plan.dollars:,.0f} dollars",
        f"  energy {plan.gpu_hours:,.0f} x {hardware.watts:g} W = {plan.megawatt_hours:,.4g} MWh",
    ]


def _names(run: Run, part: range) -> str:
    head = run.model.layers + 1
    blocks = [layer for layer in part if 0 < layer < head]
    names = ["embedding"] if 0 in part else []
    names += [f"blocks {blocks[0]}-{blocks[-1]}"] if blocks else []
    return " + ".join([*names, *(["head"] if head in part else [])])


def _gb(value: float) -> str:
    return f"{value / 1e9:,.2f} GB"
