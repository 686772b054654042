"""What was seen inside a model, drawn: one line for each part against tokens, dark for early layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
NOISE = "noise_scale_tokens"
Rows = Sequence[Mapping[str, Any]]


def inside_figure(rows: Iterable[Mapping[str, Any]]) -> Figure | None:
    """A panel for each kind of number, and the noise scale beside the batch; None of a run that was not looked into.

    `rows` are those of metrics.jsonl, all kinds.
    """
    rows = list(rows)
    inside = [row for row in rows if row["kind"] == "inside"]
    if not inside:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 11), layout="constrained")
    *panels, last = figure.subplots(4, 2).flat
    for axes, (kind, title) in zip(panels, PANELS.items(), strict=True):
        _lines(axes, inside, kind)
        axes.set(title=title, yscale="linear" if kind in LINEAR else "log")
    _noise(last, inside, [row for row in rows if row["kind"] == "train"])
    return figure


def _lines(axes: Axes, rows: Rows, kind: str) -> None:
    """Every part of the model that has this number."""
    from matplotlib import colormaps

    names = list(dict.fromkeys(name for row in rows for name in row if name.startswith(f"{kind}/")))
    layers = [int(found[1]) if (found := re.search(r"blocks\.(\d+)", name)) else None for name in names]
    last = max((layer for layer in layers if layer is not None), default=0)
    colours = colormaps["viridis"]
    for name, layer in zip(names, layers, strict=True):
        seen = [row for row in rows if name in row]
        tokens, values = [row["tokens"] for row in seen], [row[name] for row in seen]
        if layer is None:
            axes.plot(tokens, values, "--", linewidth=1, label=name.partition("/")[2])
        else:
            label = f"blocks.{layer}" if layer in (0, last) and name == _first_of(names, layer) else None
            axes.plot(tokens, values, color=colours(0.9 * layer / max(1, last)), linewidth=0.8, label=label)
    axes.set_xlabel("tokens")
    if names:
        axes.legend(fontsize=7)


def _first_of(names: list[str], layer: int) -> str:
    return next(name for name in names if re.search(rf"blocks\.{layer}(\.|$)", name))


def _noise(axes: Axes, rows: Rows, train: Rows) -> None:
    """The noise scale, and the batch that was used."""
    seen = [row for row in rows if NOISE in row]
    axes.plot([row["tokens"] for row in seen], [row[NOISE] for row in seen], "k", label="gradient noise scale")
    axes.plot([row["tokens"] for row in train], [row["batch_tokens"] for row in train], "C1--", label="batch")
    axes.set(title="gradient noise scale (tokens)", xlabel="tokens", yscale="log")
    axes.legend(fontsize=7)
