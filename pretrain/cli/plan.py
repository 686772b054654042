"""pretrain plan RUN.yaml [key=value ...] | --model NAME --cluster NAME --gpus N"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pretrain.cli.config import Overrides

if TYPE_CHECKING:
    from pretrain.planning.layouts.candidates import Space

RunFile = Annotated[str | None, typer.Argument(metavar="[RUN.yaml]", help="A path, or a name in configs/runs/.")]
Model = Annotated[str | None, typer.Option(help="Instead of a run: a name in configs/models/.")]
Cluster = Annotated[str | None, typer.Option(help="A name in configs/clusters/. Default: the run's.")]
Gpus = Annotated[int | None, typer.Option(help="Default: those of the cluster.")]
Batch = Annotated[str | None, typer.Option(help="With --model: samples or tokens (3.2M), rounded to whole samples.")]
Tokens = Annotated[str | None, typer.Option(help="With --model: length of the run, such as 300B.")]
Top = Annotated[int, typer.Option(min=1, help="Layouts in the table.")]
Free = Annotated[bool, typer.Option("--any", help="Search every layout, also what the run gives.")]
Explain = Annotated[bool, typer.Option("--explain", help="The formulas of the best layout, with numbers put in.")]
Write = Annotated[bool, typer.Option("--write", help="Write the best layout into RUN.yaml.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Sweep = Annotated[str | None, typer.Option(metavar="gpus=A..B", help="The best layout on A, 2A, ... B GPUs.")]
Weak = Annotated[bool, typer.Option("--weak", help="With --sweep: the batch grows with the GPUs.")]
Budget = Annotated[str | None, typer.Option(help="What can be trained with it: 1024xA100x34d, 1e24, 3640 PF-days.")]
Calibrate = Annotated[
    list[str] | None,
    typer.Option(metavar="RUN_DIR", help="Fit a cluster file to this run and those that follow."),
]
Out = Annotated[
    Path | None,
    typer.Option(help="A page of the plans (.html); of a sweep or a budget a picture (.png, .svg); the fitted .yaml."),
]


def plan(
    run: RunFile = None,
    overrides: Overrides = None,
    model: Model = None,
    cluster: Cluster = None,
    gpus: Gpus = None,
    batch: Batch = None,
    tokens: Tokens = None,
    top: Top = 10,
    free: Free = False,
    explain: Explain = False,
    write: Write = False,
    as_json: Json = False,
    sweep: Sweep = None,
    weak: Weak = False,
    budget: Budget = None,
    calibrate: Calibrate = None,
    out: Out = None,
) -> None:
    """Which layouts fit, how fast they are, how long a run takes and what it costs. Needs neither GPU nor data."""
    import json

    from pretrain.planning.layouts.nothing import nothing_found
    from pretrain.planning.layouts.request import hardware_of
    from pretrain.planning.layouts.search import search
    from pretrain.planning.layouts.text import details, heading, kept, plain, table
    from pretrain.planning.layouts.write import check_file, write_layout

    _go_together(
        {"--weak": weak, "--explain": explain, "--write": write, "--json": as_json, "--sweep": sweep, "--gpus": gpus}
        | {"--budget": budget, "--calibrate": calibrate}
    )
    if write:
        check_file(None if model else run, overrides or [])
    if budget or calibrate:
        runs = [*(calibrate or []), *([run] if run else []), *(overrides or [])]
        _advise(budget, out, as_json) if budget else _calibrate(runs, out)
        return
    space = _space(run, overrides or [], model, cluster, gpus, batch, tokens, free)
    hardware = hardware_of(space.run)
    if sweep:
        _sweep(space, sweep, weak, out, as_json)
        return
    if not (plans := search(space, hardware, top)):
        raise nothing_found(space, hardware)
    if as_json:
        typer.echo(json.dumps([plain(found) for found in plans], indent=2))
    else:
        lines = [heading(plans[0]), *kept(space), "", *table(plans), "", "The best:", *details(plans[0])]
        typer.echo("\n".join(lines))
    if explain:
        from pretrain.planning.layouts.explain import explain as explained

        typer.echo("\n" + "\n".join(explained(plans[0])))
    if write:
        typer.echo(write_layout(str(run), plans[0].run))
    if out:
        from pretrain.planning.page.page import write_page

        write_page(plans, out)


APART = (
    ("--budget", "--calibrate", "--sweep", "--explain", "--write", "--weak", "--gpus"),
    ("--calibrate", "--sweep", "--explain", "--write", "--json", "--weak", "--gpus"),
    ("--sweep", "--explain", "--write"),
    ("--json", "--explain", "--write"),
)
"""Options that do not go with the first of each row."""


def _go_together(given: dict[str, object]) -> None:
    """Raises ConfigError for options that would not be heard."""
    from pretrain.config.errors import ConfigError

    for first, *others in APART:
        if given[first] and (heard := [name for name in others if given[name]]):
            raise ConfigError.of(heard[0], given[heard[0]], f"does not go with {first}", "leave out one of the two")
    if given["--weak"] and not given["--sweep"]:
        raise ConfigError.of("--weak", True, "goes with --sweep", "--sweep gpus=64..2048 --weak")


def _space(
    run: str | None,
    overrides: list[str],
    model: str | None,
    cluster: str | None,
    gpus: int | None,
    batch: str | None,
    tokens: str | None,
    free: bool,
) -> Space:
    """What is searched: of a run or of a model. Raises ConfigError."""
    from pretrain.config.errors import ConfigError
    from pretrain.planning.layouts.request import space_of_model, space_of_run

    if model is None and run is not None:
        if batch or tokens:
            fix = "batch.global_batch_size=1536 train.tokens=300B"
            raise ConfigError.of("--batch, --tokens", [batch, tokens], "go with --model", fix)
        return space_of_run(run, overrides, cluster, gpus, free)
    if run is not None and "=" not in run:
        raise ConfigError.of("--model", model, f"does not go with a run ({run})", "give one of the two")
    if model is None:
        raise ConfigError.of(
            "RUN.yaml", run, "is needed, or --model", "pretrain plan --model gpt3-175b --cluster a100-80gb --gpus 1024"
        )
    return space_of_model(model, [*([run] if run else []), *overrides], cluster, gpus, batch, tokens)


def _sweep(space: Space, text: str, weak: bool, out: Path | None, as_json: bool) -> None:
    import json

    from pretrain.page.picture import check_picture, house_style
    from pretrain.planning.layouts.sweep import points, rows, sweep_counts
    from pretrain.planning.layouts.text import kept, plain

    check_picture(out)
    found = list(points(space, sweep_counts(text), weak))
    if as_json:
        typer.echo(json.dumps([plain(point.plan) for point in found if point.plan], indent=2))
    else:
        typer.echo("\n".join([*kept(space), *rows(found)]))
    if out and (plans := [point.plan for point in found if point.plan]):
        from pretrain.planning.page.figures import sweep_figure

        with house_style():
            sweep_figure(plans, weak).savefig(out, dpi=150)


def _advise(text: str, out: Path | None, as_json: bool) -> None:
    import json

    from pretrain.page.picture import check_picture
    from pretrain.planning.advice.advice import advise
    from pretrain.planning.advice.budget import parse_budget
    from pretrain.planning.advice.text import advice_lines
    from pretrain.planning.layouts.request import peak_of

    check_picture(out)
    advice = advise(parse_budget(text, peak_of))
    typer.echo(json.dumps(advice.plain(), indent=2) if as_json else "\n".join(advice_lines(advice)))
    if out:
        from pretrain.planning.advice.figure import advice_figure

        advice_figure(advice).savefig(out, dpi=150)


def _calibrate(directories: list[str], out: Path | None) -> None:
    from pretrain.profiling.calibration import calibrate_command

    typer.echo(calibrate_command(directories, out))
