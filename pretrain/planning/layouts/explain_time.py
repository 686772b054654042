"""How the parts of a step's time come about, with the numbers of a plan put in."""

from __future__ import annotations

from collections.abc import Iterator

from pretrain.planning.job import Job
from pretrain.planning.layouts.plan import Plan
from pretrain.planning.layouts.text import seconds
from pretrain.planning.parts import parts_of
from pretrain.planning.timing.block import SHOWN
from pretrain.planning.timing.network import Group, collective_seconds, group_of
from pretrain.planning.timing.step import FETCHED, SCALED, UPDATED, messages, send, stage_passes, tied_seconds


def part_lines(plan: Plan) -> list[str]:
    """The slowest stage's passes, then what the step has of exchange, bubble and update."""
    job = plan.job
    stages = [stage_passes(job, pipe) for pipe in range(job.layout.pipe)]
    busy = [stage.forward.total + stage.backward.total for stage in stages]
    slowest = max(range(len(busy)), key=busy.__getitem__)
    forward, backward = (seconds(spent.total) for spent in (stages[slowest].forward, stages[slowest].backward))
    return [
        f"  passes         of stage {slowest}, the slowest: {job.micro_batches:,.4g} x ({forward} + {backward})",
        *_tensor(job),
        *_pipe(job, sum(busy) - max(busy)),
        *_data(job, slowest, plan.time.hidden),
        *_update(job),
    ]


def _tensor(job: Job) -> Iterator[str]:
    """One exchange of a hidden state."""
    ranks, model = job.layout.tensor, job.run.model
    if ranks == 1:
        return
    size = job.tokens * model.d_model * job.width
    group = group_of(ranks, 1, job.node_size)
    yield (
        f"  tensor         {job.tokens:,} tokens x {model.d_model:,} x {job.width} bytes = {size / 1e6:.4g} MB;"
        f" an exchange is two collectives of"
    )
    yield f"                 {_ring(job, group, size)},"
    hidden = {"none": "", "backward": " (backward", "both": " (both passes"}[job.practice.hides_tensor]
    beside = f"{hidden}: beside products, {SHOWN:.0%} of it shown)" if hidden else ""
    yield f"                 and {seconds(job.practice.waits)} that ranks wait for one another{beside}"


def _pipe(job: Job, others: float) -> Iterator[str]:
    if job.layout.pipe == 1:
        return
    number = messages(job)
    tied = f", and the tied embedding's gradients, {seconds(tied_seconds(job))}" if tied_seconds(job) else ""
    yield f"  pipe           {number:,.0f} messages x {seconds(send(job))} = {seconds(number * send(job))}{tied}"
    less = ", less half of a forward pass through all" if job.run.parallel.schedule == "dualpipev" else ""
    yield f"  bubble         a micro-batch through the other stages, {seconds(others)}{less}"


def _data(job: Job, slowest: int, hidden: float) -> Iterator[str]:
    """One collective over all that a rank holds, and how often ZeRO needs it."""
    if job.layout.data == 1:
        return
    count, zero = parts_of(job.run, slowest).total, job.run.parallel.zero
    group = group_of(job.layout.data, job.layout.tensor, job.node_size)
    often = {
        0: "gradients 2",
        1: f"gradients {2 if job.practice.sums_whole else 1}, parameters 1",
        2: f"gradients 1 for each micro-batch ({job.micro_batches:,.4g}), parameters 1",
        3: f"3 for each micro-batch ({job.micro_batches:,.4g}), {FETCHED[job.practice.fetches][0]:g} times as long,",
    }[zero]
    yield f"  data           ZeRO {zero}: {often} x a collective of {count:,} x {job.width} bytes,"
    beside = f"; {seconds(hidden)} of all goes on beside the passes" if hidden else ""
    yield f"                 {_ring(job, group, count * job.width)}{beside}"


def _update(job: Job) -> Iterator[str]:
    count = max(parts_of(job.run, pipe).total for pipe in range(job.layout.pipe))
    ranks = job.layout.data if job.run.parallel.zero else 1
    speed = f"({job.hardware.memory_bandwidth:g} GB/s x {job.hardware.efficiency.memory:g})"
    if job.run.parallel.offload == "none":
        yield f"  optimizer      {count:,} parameters x ({SCALED:g} + {UPDATED:g} / {ranks} ranks) bytes / {speed}"
    else:
        yield f"  optimizer      {count:,} parameters x {SCALED:g} bytes / {speed}, and the host's part over the bus"


def _ring(job: Job, group: Group, size: float) -> str:
    """(n - 1) / n of a tensor at the speed of the slowest link."""
    hardware = job.hardware
    if group.nodes <= 1:
        speed = f"({hardware.link_bandwidth:g} GB/s x {hardware.efficiency.links:g})"
    else:
        speed = f"({group.of_node} x {hardware.network_bandwidth:g} GB/s x {hardware.efficiency.network:g})"
    took = seconds(collective_seconds(hardware, group, size))
    return f"{size / 1e6:,.4g} MB x {group.ranks - 1}/{group.ranks} / {speed} + latencies = {took}"
