"""A profile as one HTML file that needs nothing else: the picture of the split, and the tables."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator

from matplotlib import rc_context
from matplotlib.figure import Figure

from pretrain.profiling.profile import Profile
from pretrain.profiling.split import SHOWN, Split
from pretrain.profiling.text import heading_lines, operator_table, split_table

COLORS = dict(zip(SHOWN, ("#a8893a", "#3565a8", "#7fa3d1", "#c0722b", "#3b8754", "#c9ced4"), strict=True))
MOST_BARS = 64
"""More than so many: the mean of each rank's steps; more ranks than so many: the first."""
STYLE = """
body { margin: 0 auto; padding: 24px; max-width: 960px; color: #1c2530; font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 26px; } h2 { margin: 32px 0 8px; font-size: 18px; } p { margin: 2px 0; color: #5d6b7a; }
svg { display: block; width: 100%; height: auto; margin-top: 20px; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; }
th, td { padding: 4px 24px 4px 0; border-bottom: 1px solid #d9dee4; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; } th { color: #5d6b7a; font-weight: 600; }
"""


def page(profile: Profile) -> str:
    """The whole document."""
    title = f"Profile of {html.escape(profile.run)}"
    about = "".join(f"<p>{html.escape(line)}</p>" for line in heading_lines(profile))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>{title}</h1>{about}\n{picture(profile)}\n"
        f"<h2>Seconds of a step</h2>{_table(*split_table(profile))}\n"
        f"<h2>The dearest operators, per step of rank 0</h2>{_table(*operator_table(profile))}\n</body></html>\n"
    )


def picture(profile: Profile) -> str:
    """A bar for each rank and step, the parts beside each other, as SVG."""
    bars = list(_bars(profile))
    figure = Figure(figsize=(9.2, 1.3 + 0.27 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    left = [0.0] * len(bars)
    for part in SHOWN:
        widths = [split[part] for _, split in bars]
        axes.barh(range(len(bars)), widths, left=left, height=0.75, color=COLORS[part], label=part)
        left = [begun + width for begun, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(bars)), [name for name, _ in bars])
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    figure.legend(loc="outside upper center", ncols=len(SHOWN), frameon=False)
    drawn = io.StringIO()
    with rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "profile"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]


def _bars(profile: Profile) -> Iterator[tuple[str, Split]]:
    """Name and split of each bar."""
    if len(profile.splits) * len(profile.steps) > MOST_BARS:
        yield from ((f"rank {rank}", split) for rank, split in enumerate(profile.ranks[:MOST_BARS]))
        return
    for rank, splits in enumerate(profile.splits):
        where = f"rank {rank}, " if len(profile.splits) > 1 else ""
        yield from ((f"{where}step {step:,}", split) for step, split in zip(profile.steps, splits, strict=True))


def _table(headings: list[str], rows: list[list[str]]) -> str:
    def row(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f'<div class="wide"><table>{row(headings, "th")}{"".join(row(cells, "td") for cells in rows)}</table></div>'
