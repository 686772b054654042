"""What was seen inside a model, drawn: one line for each part against tokens, dark for early layers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {
    "grad_norm": "gradient norm",
    "update_ratio": "update / weight",
    "activation_rms": "activation RMS",
    "activation_max": "largest activation",
    "attention_entropy_min": "entropy of the narrowest head (nats)",
    "attention_logit_max": "largest attention score",
    "mlp_zero": "share of MLP values near 0",
}
LINEAR = ("attention_entropy_min", "mlp_zero")


class Columns(Protocol):
    """Rows of one kind as columns of equal length; NaN where a row has no such number."""

    def __contains__(self, name: str) -> bool: ...

    def __getitem__(self, name: str) -> npt.ArrayLike: ...

    def below(self, name: str) -> list[str]:
        """The places x for which there is a column `name/x`."""


def inside_figure(inside: Columns, train: Columns) -> Figure:
    """A panel for each kind of number, and the noise scale beside the batch. Rows of kinds `inside` and `train`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(8, 9), layout="constrained")
    *panels, last = figure.subplots(4, 2).flat
    for axes, (kind, title) in zip(panels, PANELS.items(), strict=True):
        _lines(axes, inside, kind)
        axes.set(title=title, yscale="linear" if kind in LINEAR else "log")
    _noise(last, inside, train)
    for axes in figure.axes:
        axes.set_xlabel("tokens")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def _lines(axes: Axes, inside: Columns, kind: str) -> None:
    """Every part of the model that has this number. Of the blocks, the first and the last are named."""
    from matplotlib import colormaps

    blocks = {place: int(found[1]) for place in inside.below(kind) if (found := re.match(r"blocks\.(\d+)", place))}
    last, named = max(blocks.values(), default=0), set[int]()
    for place in inside.below(kind):
        points = inside["tokens"], inside[f"{kind}/{place}"]
        if (block := blocks.get(place)) is None:
            axes.plot(*points, "--", linewidth=1, label=place)
            continue
        label = f"blocks.{block}" if block in (0, last) and block not in named else None
        axes.plot(*points, color=colormaps["viridis"](0.9 * block / max(1, last)), linewidth=0.8, label=label)
        named.add(block)
    if inside.below(kind):
        axes.legend(fontsize=7)


def _noise(axes: Axes, inside: Columns, train: Columns) -> None:
    """The noise scale, and the batch that was used."""
    if "noise_scale_tokens" in inside:
        axes.plot(inside["tokens"], inside["noise_scale_tokens"], "k.-", label="gradient noise scale")
    axes.plot(train["tokens"], train["batch_tokens"], "C1--", label="batch")
    axes.set(title="gradient noise scale (tokens)", yscale="log")
    axes.legend(fontsize=7)
