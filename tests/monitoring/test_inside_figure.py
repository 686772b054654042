"""The picture of what was seen inside: what is drawn, read back from the figure."""

from __future__ import annotations

from typing import Any

from pretrain.monitoring.inside_figure import inside_figure

ROWS: list[dict[str, Any]] = [
    {"kind": "train", "step": 1, "tokens": 64, "batch_tokens": 64},
    {"kind": "inside", "step": 1, "tokens": 64, "grad_norm/embedding.tokens": 1.0, "grad_norm/blocks.0.mlp": 2.0},
    {"kind": "inside", "step": 2, "tokens": 128, "grad_norm/blocks.0.mlp": 3.0, "noise_scale_tokens": 500.0},
]


def test_lines_hold_the_numbers() -> None:
    figure = inside_figure(ROWS)
    assert figure is not None
    norms, noise = figure.axes[0], figure.axes[-1]
    drawn = {str(line.get_label()): line.get_xydata().tolist() for line in norms.lines}  # type: ignore[union-attr]
    assert drawn == {"embedding.tokens": [[64, 1]], "blocks.0": [[64, 2], [128, 3]]}
    assert noise.lines[0].get_xydata().tolist() == [[128, 500]]  # type: ignore[union-attr]
    assert noise.lines[1].get_xydata().tolist() == [[64, 64]]  # type: ignore[union-attr]


def test_nothing_was_seen() -> None:
    assert inside_figure(ROWS[:1]) is None
