"""Advice for a budget drawn: every way to spend it, and where each law says to stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretrain.planning.advice.advice import Advice
from pretrain.planning.advice.laws import Parametric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REACH = 30
"""How many times smaller and larger than a law's best size its curve goes."""


def advice_figure(advice: Advice) -> Figure:
    """Left, parameters and tokens: the budget's line, presets below and above it. Right, loss along that line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    plane, curves = figure.subplots(1, 2)
    _plane(plane, advice)
    _curves(curves, advice)
    for axes in (plane, curves):
        axes.set(xscale="log", xlabel="parameters")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.suptitle(f"{advice.budget.text}: {advice.budget.flops:.3g} FLOPs", fontsize=10)
    return figure


def _plane(axes: Axes, advice: Advice) -> None:
    sizes = [preset.parameters for preset in advice.presets] + [split.parameters for _, split in advice.splits]
    ends = [min(sizes) / 2, max(sizes) * 2]
    axes.plot(ends, [advice.budget.flops / (6 * end) for end in ends], color="black", label="the whole budget, 6 N D")
    for number, (law, split) in enumerate(advice.splits):
        axes.plot(split.parameters, split.tokens, "o", color=f"C{number}", label=law.name)
    for preset in advice.presets:
        fits = advice.share(preset) <= 1
        axes.plot(preset.parameters, preset.tokens, "x", color="black" if fits else "grey", markersize=4)
        # What fits lies below the line: its name stands there, the others' above.
        name = axes.annotate(preset.name, (preset.parameters, preset.tokens), fontsize=6, rotation=45)
        name.set(ha="right" if fits else "left", va="top" if fits else "bottom")
    axes.set(yscale="log", ylabel="tokens", title="models that cost the budget (x: presets)")


def _curves(axes: Axes, advice: Advice) -> None:
    """Of the laws that say what models beside the best one reach; they were fitted to the same text."""
    for number, (law, split) in enumerate(advice.splits):
        if not isinstance(law, Parametric):
            continue
        sizes = [split.parameters * REACH ** (step / 20) for step in range(-20, 21)]
        losses = [law.loss(size, advice.budget.flops / (6 * size)) for size in sizes]
        axes.plot(sizes, losses, color=f"C{number}")
        axes.plot(sizes[20], losses[20], "o", color=f"C{number}", label=f"{law.name}: {losses[20]:.3f}")
    axes.set(ylabel="loss, nats per token", title="what larger and smaller models reach")
