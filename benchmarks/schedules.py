"""Pictures of pipeline schedules as they were executed: python -m benchmarks.schedules

Four processes train a small model on eight micro-batches; the order in which each rank really computed is replayed with
set costs (pretrain/planning/pipeline/idle.py) and drawn, a row a rank.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

from pretrain.planning.pipeline.idle import Slot, Timeline, replay
from tests.parallel.counted import count_step

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
PIPE, MICRO_BATCHES = 4, 8
COLOURS = {"F": ("#4c78a8", "#9ecae9"), "B": ("#f58518", "#ffbf79")}
"""Of passes through a rank's first stage, and through its second (DualPipeV's way back)."""
MODEL = {"layers": 8, "d_model": 32, "heads": 4, "context": 16, "vocab_size": 128}


def main() -> None:
    """Draw 1F1B and DualPipeV."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for schedule, title in (("1f1b", "1F1B"), ("dualpipev", "DualPipeV")):
        timeline = executed(schedule)
        draw(timeline, f"{title}, p = {PIPE}, m = {MICRO_BATCHES}", PICTURES / f"schedule-{schedule}.svg")
        print(f"{title}: idle share {timeline.idle_share:.4f}")


def executed(schedule: str) -> Timeline:
    """What real processes did in one step, replayed."""
    run = {
        "name": "schedule",
        "train": {"tokens": "1M"},
        "model": MODEL,
        "data": {"manifest": "none"},
        "batch": {"global_batch_size": MICRO_BATCHES},
        "optimizer": {"learning_rate": 1e-3},
        "precision": {"compute": "fp32"},
        "parallel": {"pipe": PIPE, "schedule": schedule},
    }
    return replay([rank.instructions for rank in count_step(run, PIPE, MICRO_BATCHES)])


def draw(timeline: Timeline, title: str, path: Path) -> None:
    """Write the timeline as SVG; the same timeline gives the same bytes."""
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "pretrain"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(12, 0.6 * len(timeline.ranks) + 1.4), layout="constrained")
    for rank, slots in enumerate(timeline.ranks):
        for slot in slots:
            _box(axes, rank, slot, len(timeline.ranks))
    axes.set_xlim(0, timeline.length)
    axes.set_ylim(len(timeline.ranks) - 0.5, -0.5)
    axes.set_yticks(range(len(timeline.ranks)), [f"rank {rank}" for rank in range(len(timeline.ranks))])
    axes.set_xlabel(
        "time: forward 1, backward 2 of a rank's layers; blue forward, orange backward, pale second stage, white idle"
    )
    axes.set_title(f"{title}: idle {100 * timeline.idle_share:.1f}%")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _box(axes: object, rank: int, slot: Slot, ranks: int) -> None:
    """One pass with its micro-batch, lighter in the rank's second stage."""
    kind, micro_batch, stage = slot.work
    width = slot.end - slot.start
    colour = COLOURS[kind][stage >= ranks]
    axes.barh(rank, width, left=slot.start, height=0.9, color=colour, edgecolor="white", linewidth=0.8)  # type: ignore[attr-defined]
    axes.text(slot.start + width / 2, rank, str(micro_batch + 1), ha="center", va="center", fontsize=8)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
