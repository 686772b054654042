"""Texts that the checkpoints wrote."""

from __future__ import annotations

from collections.abc import Sequence

from pretrain.config.units import short
from pretrain.monitoring.report.part import Part
from pretrain.monitoring.report.read import RunRecord
from pretrain.page.html import Html, join, tag

ABOUT = "What each kept checkpoint makes of the same beginnings, with the same seed. Coloured: what was given."
HOW = "No texts yet: `pretrain report RUN --samples` has the checkpoints that are kept write some."


def samples(runs: Sequence[RunRecord]) -> Part | None:
    """By run and beginning, from the first checkpoint to the last."""
    if not any(run.samples for run in runs):
        return Part("Samples", HOW, tag("p")) if any(run.saved for run in runs) else None
    return Part("Samples", ABOUT, join(*(_of(run) for run in runs if run.samples)))


def _of(run: RunRecord) -> Html:
    prompts = dict.fromkeys(row["prompt"] for row in run.samples)
    return join(tag("h3", run.label), *(_by_step(run, prompt) for prompt in prompts))


def _by_step(run: RunRecord, prompt: str) -> Html:
    newest = {row["step"]: row for row in run.samples if row["prompt"] == prompt}
    shown = [
        tag(
            "figure",
            tag("figcaption", f"step {row['step']:,}, {short(row.get('tokens', 0))} tokens"),
            tag("blockquote", tag("b", prompt), row["text"], dir="auto"),
        )
        for _, row in sorted(newest.items())
    ]
    return tag("div", *shown, class_="panels")
