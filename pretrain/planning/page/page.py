"""The page of a plan: ranked layouts, memory, time, pipeline, map, formulas and assumptions, without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pretrain import page
from pretrain.config.errors import ConfigError
from pretrain.config.hardware import Efficiency, Hardware
from pretrain.page.html import Html, join, share, table, tag
from pretrain.page.picture import Picture, house_style
from pretrain.planning.error import MEMORY_ERROR
from pretrain.planning.layouts.explain import explain
from pretrain.planning.layouts.plan import Plan
from pretrain.planning.layouts.text import TIMES, heading, run_lines, seconds
from pretrain.planning.memory.stage import StageMemory
from pretrain.planning.page.figures import layout_words, map_figure, memory_figure, time_figure
from pretrain.planning.page.landscape import landscape
from pretrain.planning.page.timeline import timeline_figure
from pretrain.shards.files import write_where_asked

STYLE = Html(
    ".plots svg { min-width: 500px; } .plots.wide { display: block; overflow-x: auto; }"
    ".wide.timeline svg { min-width: 900px; } .wide.timeline .plot { max-width: none; } pre { max-height: none; }"
)
"""Figures keep a size at which they can be read, and scroll on a small screen."""


def write_page(plans: Sequence[Plan], path: Path) -> None:
    """Write the page of `plans`, best first. Raises ConfigError when it is no .html or cannot be written."""
    if path.suffix != ".html":
        raise ConfigError.of("--out", str(path), "must be a .html file", f"--out {path.stem or 'plan'}.html")
    write_where_asked(path, render(plans).encode())


def render(plans: Sequence[Plan]) -> str:
    """The page."""
    best = plans[0]
    title, whole = tag("h1", f"Plan of {best.run.name}"), tag("pre", "\n".join(run_lines(best)))
    header = join(title, tag("p", heading(best)), _boxes(best), whole)
    return page.render(f"Plan of {best.run.name}", header, _sections(plans), STYLE)


def pictures(plans: Sequence[Plan]) -> dict[str, Picture]:
    """The figures of the page, by name; `Picture.save` writes one as SVG and PNG."""
    best = plans[0]
    with house_style():
        figures = {"memory": memory_figure(best), "time": time_figure(plans)}
        if best.job.layout.pipe > 1:
            figures["timeline"] = timeline_figure(best)
        figures["map"] = map_figure(best, landscape(best))
    return {name: Picture(name, f"{name} of the plan", figure) for name, figure in figures.items()}


def _sections(plans: Sequence[Plan]) -> Iterator[page.Section]:
    best = plans[0]
    shown = {name: _plot(picture) for name, picture in pictures(plans).items()}
    yield page.Section("Layouts", "Fastest first, of those that satisfy the rules and fit.", _layouts(plans))
    about = f"Of the fastest layout, within {MEMORY_ERROR:.0%}: the error of the planner on published runs."
    yield page.Section("Memory", about, join(shown["memory"], _memory(best)))
    error = best.job.hardware.error
    about = f"Within {error:.0%}. " if error else "Not validated on this GPU. "
    about += "Waiting for the slowest stage counts as bubble."
    yield page.Section("Time", about, join(shown["time"], _time(best)))
    if "timeline" in shown:
        told = "Passes with the seconds of their own stages; gradients and update come after them."
        yield page.Section("Pipeline", told, shown["timeline"])
    told = "Star: the fastest. Hollow: does not fit. Numbered: no other layout is faster and needs less."
    yield page.Section("Map of layouts", told, shown["map"])
    yield page.Section("Formulas", "Of the fastest layout, with its numbers.", tag("pre", "\n".join(explain(best))))
    told = "What the plan takes for granted. Peaks are the data sheet's, shares of them fitted to published runs."
    yield page.Section("Assumptions", told, _assumptions(best))


def _plot(picture: Picture) -> Html:
    return tag("div", picture.html(), class_=f"plots wide {picture.name}")


def _boxes(plan: Plan) -> Html:
    shown = {
        "a step": seconds(plan.time.total),
        "tokens/s of a GPU": f"{plan.tokens_per_second:,.0f}",
        "MFU": f"{plan.mfu:.1%}",
        "HFU": f"{plan.hfu:.1%}",
        "GB of the fullest GPU": f"{plan.memory / 1e9:.1f}",
        "days": f"{plan.days:,.3g}",
        "GPU-hours": f"{plan.gpu_hours:,.0f}",
    }
    return tag("div", *(tag("div", tag("b", value), name) for name, value in shown.items()), class_="headline")


def _layouts(plans: Sequence[Plan]) -> Html:
    headings = ["", "tensor", "pipe", "data", "micro-batch", "what else", "GB", "step", "tokens/s/GPU", "MFU", "days"]
    rows = []
    for rank, plan in enumerate(plans, 1):
        pipe, data, tensor = plan.job.layout
        rest = " ".join(layout_words(plan).split()[4:])
        numbers = [f"{plan.memory / 1e9:.1f}", seconds(plan.time.total), round(plan.tokens_per_second)]
        sizes = [rank, tensor, pipe, data, plan.run.batch.micro_batch_size]
        rows.append([*sizes, rest, *numbers, f"{plan.mfu:.1%}", f"{plan.days:.3g}"])
    return table(headings, rows)


def _memory(plan: Plan) -> Html:
    """GB of each stage."""
    headings = ["place", *StageMemory._fields, "total, GB", "of all"]
    capacity = plan.job.hardware.memory
    rows = [
        [place, *(f"{part / 1e9:.2f}" for part in (*stage, stage.total)), share(stage.total, capacity)]
        for place, stage in enumerate(plan.stages)
    ]
    return table(headings, rows)


def _time(plan: Plan) -> Html:
    spent = {name: value for name, value in plan.time._asdict().items() if value}
    rows = [
        [name, seconds(value), "" if name == "hidden" else share(value, plan.time.total), TIMES.get(name, "")]
        for name, value in spent.items()
    ]
    return table(["part", "seconds", "of the step", ""], [*rows, ["whole", seconds(plan.time.total), "", ""]])


def _assumptions(plan: Plan) -> Html:
    """Every figure of the hardware with its explanation."""
    hardware = plan.job.hardware
    rows = [[name, _plain(getattr(hardware, name)), told] for name, told in told_of(Hardware) if name != "efficiency"]
    rows += [
        [f"efficiency.{name}", _plain(getattr(hardware.efficiency, name)), told] for name, told in told_of(Efficiency)
    ]
    return table(["figure", "value", "what it is"], rows)


def told_of(section: type[Hardware] | type[Efficiency]) -> list[tuple[str, str]]:
    """Fields of a section of the configuration with their doc lines."""
    return [(name, field.description or "") for name, field in section.model_fields.items()]


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
