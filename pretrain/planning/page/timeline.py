"""The pipeline of a plan drawn: a row for each rank, a box for each pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pretrain.page.picture import COLORS, INK, LINE, PAPER, frame
from pretrain.planning.layouts.plan import Plan
from pretrain.planning.pipeline.idle import Slot, Timeline
from pretrain.planning.pipeline.timeline import recompute_shares, timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {"forward": COLORS[0], "backward": COLORS[4], "recomputed": COLORS[5], "idle": LINE}
ROWS = 16
"""Ranks that are drawn at most."""
WIDTH = 11.0
"""Inches."""


class Box(NamedTuple):
    """A piece of a row."""

    kind: str
    """A key of KINDS."""
    start: float
    seconds: float
    micro_batch: int
    late: bool
    """Whether it is of another stage of the rank than its first."""


def timeline_figure(plan: Plan) -> Figure:
    """The first micro-batches of a step from filling to emptying; of long pipelines every n-th rank."""
    job, pipe = plan.job, plan.job.layout.pipe
    most = max(16, pipe + 4)
    whole, again = timeline(job, most), recompute_shares(job)
    every = -(-pipe // ROWS)
    ranks = list(range(0, pipe, every))
    figure, axes = frame(_title(plan, whole, most, every), (WIDTH, 0.75 + 0.25 * len(ranks)), right=0.2, key=1)
    for row, rank in enumerate(ranks):
        axes.barh(row, whole.length, height=0.86, color=KINDS["idle"])
        for box in boxes(whole.ranks[rank], again[rank], pipe):
            _draw(figure, row, box, whole.length)
    axes.set(xlim=(0, whole.length), ylim=(len(ranks) - 0.4, -0.6), xlabel="seconds")
    axes.set_yticks(range(len(ranks)), [f"{rank}" for rank in ranks], fontsize=8)
    axes.set_ylabel("pipe rank")
    axes.grid(visible=False)
    _legend(figure, any(again), any(slot.work.stage >= pipe for slot in whole.ranks[0]))
    return figure


def boxes(slots: list[Slot], again: float, pipe: int) -> Iterator[Box]:
    """The passes of a rank; `again`: the share of a backward pass that is forward passes done again, drawn first."""
    for start, end, (kind, micro_batch, stage) in slots:
        late, seconds = stage >= pipe, end - start
        if kind == "F":
            yield Box("forward", start, seconds, micro_batch, late)
            continue
        if again:
            yield Box("recomputed", start, seconds * again, micro_batch, late)
        yield Box("backward", start + seconds * again, seconds * (1 - again), micro_batch, late)


def _title(plan: Plan, whole: Timeline, most: int, every: int) -> str:
    """What is drawn, and how much of it is idle."""
    job = plan.job
    name = {"1f1b": "1F1B", "dualpipev": "DualPipeV"}[plan.run.parallel.schedule]
    name = f"Interleaved 1F1B, {job.practice.virtual} stages a rank" if job.practice.virtual > 1 else name
    many, drawn = int(job.micro_batches), len({slot.work.micro_batch for slot in whole.ranks[0]})
    told = f"all {many} micro-batches" if drawn >= many else f"{drawn} of {many} micro-batches"
    rows = "" if every == 1 else f", one of {every} ranks"
    share = plan.time.bubble / plan.time.total
    return f"{name}, {told}{rows}: idle {whole.idle_share:.0%} of this, {share:.0%} of the whole step"


def _draw(figure: Figure, row: int, box: Box, length: float) -> None:
    """With the number of its micro-batch where there is room. Later stages of a rank are paler."""
    axes = figure.axes[0]
    alpha = 0.55 if box.late else 1.0
    axes.barh(
        row, box.seconds, left=box.start, height=0.86, color=KINDS[box.kind], alpha=alpha, edgecolor=PAPER, lw=0.4
    )
    number = str(box.micro_batch)
    inches = box.seconds / length * (WIDTH - 0.75)
    if box.kind != "recomputed" and inches > 0.07 * len(number) + 0.03:
        ink = PAPER if box.kind == "forward" and not box.late else INK
        axes.text(box.start + box.seconds / 2, row, number, ha="center", va="center_baseline", fontsize=6.5, color=ink)


def _legend(figure: Figure, again: bool, late: bool) -> None:
    from matplotlib.patches import Patch

    names = [name for name in KINDS if again or name != "recomputed"]
    patches = [Patch(color=KINDS[name]) for name in names]
    if late:
        names, patches = [*names, "paler: later stages of the rank"], [*patches, Patch(color=PAPER)]
    figure.legend(
        patches, names, loc="upper left", ncols=5, handlelength=0.8,
        bbox_to_anchor=(0, 1 - 0.24 / figure.get_figheight()), handleheight=0.8, columnspacing=1.1, handletextpad=0.4,
        borderaxespad=0.0,
    )  # fmt: skip
