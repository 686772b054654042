"""The house style of figures: for a page in light or dark, and for a paper."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pretrain.config.errors import ConfigError
from pretrain.page.html import Html, tag
from pretrain.shards.files import write_where_asked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5cc4", "#8c8c8c")
"""Of runs, or of sources; then from the start. Safe for colour-blind readers: Okabe & Ito (2008) without yellow, and
two more.
"""
INK, QUIET, LINE, PAPER = "#1c2530", "#5d6b7a", "#d9dee4", "#ffffff"
"""Text, lines and background."""
TURNING = {INK: "ink", QUIET: "quiet", LINE: "line", PAPER: "paper", COLORS[0]: "blue"}
"""Colours that the page replaces by its own, which are others in the dark."""
FONTS = ("Helvetica", "Arial", "Liberation Sans", "DejaVu Sans", "Noto Sans CJK KR", "NanumGothic", "Malgun Gothic")
"""For each letter the first that is installed and has it; matplotlib brings DejaVu."""
DPI = 300
"""Of PNG files."""
WIDE, PANEL = (5.6, 3.3), (3.5, 2.3)
"""Inches: a figure for itself, and one among others."""


class Picture(NamedTuple):
    """A figure under the name that its files have."""

    name: str
    told: str
    """What it shows, for those who do not see it."""
    figure: Figure
    wide: bool = False
    """One for itself, not one among others."""

    def html(self) -> Html:
        """As it stands in a page."""
        svg = _svg(self.figure, "none")
        for color, name in TURNING.items():
            svg = svg.replace(color, f"var(--{name})")
        return tag("div", Html(svg), class_="plot", role="img", aria_label=self.told)

    def save(self, directory: Path) -> list[Path]:
        """Write NAME.svg and NAME.png; returns their paths."""
        png = io.BytesIO()
        with house_style():
            self.figure.savefig(png, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
        name = re.sub(r"[^\w.-]", "-", self.name)
        paths = [directory / f"{name}{ending}" for ending in (".svg", ".png")]
        write_where_asked(paths[0], _svg(self.figure, "white").encode())
        write_where_asked(paths[1], png.getvalue())
        return paths


def frame(title: str, size: tuple[float, float] = PANEL, right: float = 0.15, key: int = 0) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, its title above it; `right` inches are left free beside, `key` lines above.

    Margins are fixed and no text is turned: the same on every machine, whatever its fonts.
    """
    from matplotlib.figure import Figure

    width, height = size[0], size[1] + 0.17 * key
    figure = Figure(figsize=(width, height))
    left, bottom, top = 0.55, 0.42, 0.3 + 0.17 * key
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    axes = figure.add_axes(box)
    figure.text(0.08 / width, 1 - 0.17 / height, title, fontweight="bold", fontsize=9.5, va="center")
    axes.grid(axis="x", visible=False)
    return figure, axes


def color(index: int) -> str:
    """Of a run or source."""
    return COLORS[index % len(COLORS)]


def check_picture(path: Path | None) -> None:
    """Raises ConfigError, before anything is computed, when no picture could be written there."""
    if path is not None and (path.suffix not in (".png", ".svg") or not path.parent.is_dir()):
        rule = "must be a .png or .svg file in a directory that there is"
        raise ConfigError.of("--out", str(path), rule, f"--out {path.stem or 'picture'}.png")


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib's settings while a figure is drawn or written."""
    import matplotlib
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    settings: dict[Any, Any] = {
        "font.family": "sans-serif",
        "font.sans-serif": [font for font in FONTS if font in installed],
        "font.size": 9.0,
        "text.parse_math": False,  # names of runs and sources come from anywhere
        "text.color": INK,
        "axes.edgecolor": QUIET,
        "axes.linewidth": 0.7,
        "axes.labelcolor": QUIET,
        "axes.labelsize": 8.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "grid.linewidth": 0.5,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.0,
        "ytick.minor.width": 0.0,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "lines.solid_capstyle": "round",
        "svg.fonttype": "none",
        "svg.hashsalt": "pretrain",
    }
    with matplotlib.rc_context(settings):
        yield


def _svg(figure: Figure, background: str) -> str:
    """The same bytes for the same figure: no date, no version; numbers as exact as a screen can show."""
    text = io.StringIO()
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # text stays text: the reader's browser has the letters
        figure.savefig(text, format="svg", facecolor=background, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[A-Za-z]\w*_\d+"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: Helvetica, Arial, sans-serif", svg)
    return re.sub("<[^>]+>", lambda element: re.sub(r"-?\d+\.\d{3,}", _rounded, element[0]), svg)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
