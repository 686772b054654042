"""The picture of what was seen inside: what is drawn, read back from the figure."""

from __future__ import annotations

import math

from pretrain.monitoring.inside_figure import inside_figure


class Columns(dict[str, list[float]]):
    """As the report has them."""

    def below(self, name: str) -> list[str]:
        return [column.removeprefix(f"{name}/") for column in self if column.startswith(f"{name}/")]


def test_lines_hold_the_numbers() -> None:
    inside = Columns(
        {
            "tokens": [64, 128],
            "grad_norm/embedding.tokens": [1, 0.5],
            "grad_norm/blocks.0.attention": [4, 5],
            "grad_norm/blocks.0.mlp": [2, 3],
            "noise_scale_tokens": [math.nan, 500],
        }
    )
    figure = inside_figure(inside, Columns({"tokens": [64], "batch_tokens": [32]}))
    norms, noise = figure.axes[0], figure.axes[-1]
    drawn = [(line.get_label(), [*line.get_ydata()]) for line in norms.lines]  # type: ignore[misc]
    assert [values for _, values in drawn] == [[1, 0.5], [4, 5], [2, 3]]
    assert [str(label) for label, _ in drawn][:2] == ["embedding.tokens", "blocks.0"]
    assert [*noise.lines[0].get_ydata()][1] == 500  # type: ignore[misc]
    assert noise.lines[1].get_xydata().tolist() == [[64, 32]]  # type: ignore[union-attr]


def test_a_run_without_noise_scale() -> None:
    figure = inside_figure(Columns({"tokens": [64]}), Columns({"tokens": [64], "batch_tokens": [32]}))
    assert len(figure.axes[-1].lines) == 1
