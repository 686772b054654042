"""A plan drawn: memory by stage, time by part, the map of layouts, and how a run scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pretrain.config.units import short
from pretrain.page.picture import COLORS, INK, PAPER, QUIET, WIDE, frame
from pretrain.planning.layouts.plan import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREEN, PINK, ORANGE, SKY, PURPLE, GREY = COLORS
MEMORY = {
    "weights": BLUE, "gradients": SKY, "optimizer": PURPLE, "activations": ORANGE, "buffers": GREEN, "margin": GREY,
}  # fmt: skip
"""Parts of StageMemory."""
TIME = {
    "matmul": BLUE, "attention": SKY, "memory": GREEN, "host": INK, "tensor": RED, "pipe": ORANGE, "data": PINK,
    "bubble": GREY, "optimizer": PURPLE,
}  # fmt: skip
"""Parts of StepTime that are waited for."""
NAMED = 8
"""Layouts of the map that are named at most."""
TICKS = 16
"""Stages whose place is written at most."""


def layout_words(plan: Plan) -> str:
    """`t8 p16 d8 m1 recompute`: tensor, pipe and data ranks, samples of a micro-batch."""
    layout, parallel = plan.job.layout, plan.run.parallel
    words = [f"t{layout.tensor} p{layout.pipe} d{layout.data} m{plan.run.batch.micro_batch_size}"]
    words += ["DualPipeV"] if layout.pipe > 1 and parallel.schedule == "dualpipev" else []
    words += [f"ZeRO {parallel.zero}"] if parallel.zero != 1 else []
    words += [f"{parallel.recompute} recompute"] if parallel.recompute != "none" else []
    return " ".join(words)


def memory_figure(plan: Plan) -> Figure:
    """GB on a GPU of each stage, by part, under what it can hold."""
    stages, capacity = plan.stages, plan.job.hardware.memory / 1e9
    figure, axes = frame(f"Memory of a GPU by pipeline stage, GB: {layout_words(plan)}", (WIDE[0], 3.1), key=1)
    places, base = range(len(stages)), [0.0] * len(stages)
    for part, color in _used(MEMORY, [stage._asdict() for stage in stages]).items():
        sizes = [getattr(stage, part) / 1e9 for stage in stages]
        axes.bar(places, sizes, bottom=base, width=0.8, color=color, label=part)
        base = [below + size for below, size in zip(base, sizes, strict=True)]
    axes.axhline(capacity, color=INK, lw=1.2, ls=(0, (4, 2)))
    top = 1.12 * max(capacity, *base)
    axes.set(xlabel="place on the pipe axis", xlim=(-0.7, len(stages) - 0.3), ylim=(0, top))
    axes.text(len(stages) - 0.35, capacity + 0.012 * top, f"{capacity:.3g}: all there is", ha="right", color=INK)
    axes.set_xticks(range(0, len(stages), -(-len(stages) // TICKS)))
    _legend(figure, columns=6)
    return figure


def time_figure(plans: Sequence[Plan]) -> Figure:
    """Seconds of a step by part, a bar for each plan, the first on top."""
    height = 0.85 + 0.24 * len(plans)
    figure, axes = frame("Seconds of a step by what takes them", (WIDE[0], height), right=0.55, key=2)
    box, left_inches = axes.get_position(), 2.15
    axes.set_position((left_inches / WIDE[0], box.y0, box.x1 - left_inches / WIDE[0], box.height))
    base = [0.0] * len(plans)
    for part, color in _used(TIME, [plan.time._asdict() for plan in plans]).items():
        spent = [float(getattr(plan.time, part)) for plan in plans]
        axes.barh(range(len(plans)), spent, left=base, height=0.7, color=color, label=part)
        base = [before + more for before, more in zip(base, spent, strict=True)]
    for place, whole in enumerate(base):
        axes.text(whole, place, f" {whole:.3g}", va="center", fontsize=8, color=QUIET)
    axes.set_yticks(range(len(plans)), [layout_words(plan) for plan in plans], fontsize=7.5)
    axes.set_ylim(len(plans) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    _legend(figure, columns=5)
    return figure


def map_figure(best: Plan, others: Sequence[Plan]) -> Figure:
    """Speed over memory: what fits left of the line, the best marked, and named what nothing beats in both."""
    capacity, shown, key_inches = best.job.hardware.memory / 1e9, [best, *others], 2.8
    size = (WIDE[0] + key_inches, 3.4)
    figure, axes = frame("Layouts: tokens/s of a GPU over its memory in GB", size, right=key_inches)
    fits = [plan for plan in shown if plan.memory <= capacity * 1e9]
    beyond = [plan for plan in shown if plan.memory > capacity * 1e9]
    for plans, face in ((fits, BLUE), (beyond, "none")):
        _points(axes, plans, marker="o", s=16, edgecolors=BLUE if plans is fits else GREY, facecolors=face, lw=0.8)
    _points(axes, [best], marker="*", s=150, color=RED, edgecolors=PAPER, lw=0.6, zorder=5)
    axes.axvline(capacity, color=INK, lw=1.2, ls=(0, (4, 2)))
    axes.set(xscale="log", ylim=(0, 1.12 * max(plan.tokens_per_second for plan in shown)))
    _memory_axis(axes, [plan.memory / 1e9 for plan in shown], capacity)
    where = axes.get_xaxis_transform()
    axes.text(capacity, 0.97, f"{capacity:.3g}: all there is ", fontsize=7.5, color=INK, transform=where, ha="right")
    for number, plan in enumerate(front(fits)[:NAMED], 1):
        place = (plan.memory / 1e9, plan.tokens_per_second)
        axes.annotate(f"{number}", place, (-5, 3), textcoords="offset points", fontsize=8, color=INK, ha="right")
        line = f"{number}  {layout_words(plan)}"
        axes.text(1.03, 1 - 0.065 * number, line, fontsize=8, color=INK, transform=axes.transAxes)
    return figure


def front(plans: Sequence[Plan]) -> list[Plan]:
    """Those that no other beats in speed and in memory, the fastest first."""
    kept: list[Plan] = []
    for plan in sorted(plans, key=lambda one: (-one.tokens_per_second, one.memory)):
        if not kept or plan.memory < kept[-1].memory:
            kept.append(plan)
    return kept


def sweep_figure(plans: Sequence[Plan], weak: bool = False) -> Figure:
    """Tokens per second of all GPUs over their number, and how much of linear scaling is left."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    what = "weak scaling: the batch grows" if weak else "strong scaling: one batch"
    figure, axes = frame(f"Tokens per second over GPUs, {what}", (WIDE[0], 3.1), right=0.3)
    gpus, first = [plan.gpus for plan in plans], plans[0]
    speeds = [plan.tokens_per_second * plan.gpus for plan in plans]
    axes.plot(gpus, [first.tokens_per_second * count for count in gpus], color=GREY, lw=1, ls=(0, (4, 2)))
    axes.plot(gpus, speeds, color=BLUE, marker="o", ms=4)
    axes.set(xscale="log", yscale="log", xlabel="GPUs; beside each point its share of linear scaling (dashed)")
    for count, speed, plan in zip(gpus, speeds, plans, strict=True):
        left = plan.tokens_per_second / first.tokens_per_second
        axes.annotate(f"{left:.0%}", (count, speed), (3, -11), textcoords="offset points", fontsize=8, color=INK)
    axes.set_xticks(gpus, [f"{count:,}" for count in gpus])
    axes.minorticks_off()
    axes.set(xlim=(0.8 * gpus[0], 1.4 * gpus[-1]), ylim=(0.7 * min(speeds), None))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    return figure


def _used(colors: Mapping[str, str], found: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """The parts that are not nothing everywhere."""
    return {part: color for part, color in colors.items() if any(one[part] for one in found)}


def _points(axes: Axes, plans: Sequence[Plan], **style: object) -> None:
    axes.scatter([plan.memory / 1e9 for plan in plans], [plan.tokens_per_second for plan in plans], **style)  # type: ignore[arg-type]


def _memory_axis(axes: Axes, sizes: Sequence[float], capacity: float) -> None:
    """A logarithmic axis with plain numbers, which the capacity is always on."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xlim(0.8 * min(*sizes, capacity), 1.6 * max(*sizes, capacity))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, columns: int) -> None:
    """In lines under the title."""
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="upper left", bbox_to_anchor=(0, 1 - 0.24 / figure.get_figheight()), ncols=columns,
        handlelength=0.8, handleheight=0.8, columnspacing=1.1, handletextpad=0.4, borderaxespad=0.0, labelspacing=0.3,
    )  # fmt: skip
