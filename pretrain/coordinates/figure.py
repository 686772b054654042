"""The coordinate check drawn: a panel for each place, a line for each step. Flat lines are what muP promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretrain.coordinates.check import Coordinates
from pretrain.coordinates.measure import PLACES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def coordinate_figure(found: Coordinates) -> Figure:
    """What training moved at each place against d_model, both in logs; the last step is the darkest."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    widths = list(found.sizes)
    for axes, place in zip(figure.subplots(2, 3).flat, PLACES, strict=True):
        lines = zip(*(sizes.moved[place] for sizes in found.sizes.values()), strict=True)
        steps = len(found.sizes[widths[0]].moved[place])
        for step, line in enumerate(lines, start=1):
            shade = colormaps["viridis_r"](step / steps)
            axes.plot(widths, line, ".-", color=shade, label=f"step {step}" if step in (1, steps) else None)
        axes.set_title(f"{place}: width^{found.exponent(place):.2f}", fontsize=10)
        axes.set(xscale="log", yscale="log", xlabel="d_model")
        axes.set_xticks(widths, [str(width) for width in widths])
        axes.minorticks_off()
        low, high = axes.get_ylim()
        axes.set_ylim(low / 3, high * 3)  # what is flat looks flat
    figure.axes[0].legend(fontsize=7)
    mup = f"muP from d_model {found.run.model.mup.base_d_model}" if found.run.model.mup else "without muP"
    figure.suptitle(f"{found.run.name}: how far each step has moved activations (RMS), {mup}", fontsize=10)
    return figure
