"""docs/constraints.md, written from the constraint table: `pretrain config constraints > docs/constraints.md`."""

from __future__ import annotations

from pretrain.config.constraints import CONSTRAINTS, check_run
from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run

EXAMPLE = ("gpt3-125m", "parallel.tensor=8", 16)
"""A run, an override and a number of processes that the table refuses."""

INTRODUCTION = """\
# What a run and its processes must satisfy

Written by `pretrain config constraints` from the table in `pretrain/config/constraints/`; a test compares them.

`pretrain config check` and every process of a run check all of these before data is read. Processes stand on a grid
pipe x data x tensor, so `data` is processes / (tensor x pipe); `%` is the remainder of a division. Each broken rule is
told with the field, its value, the rule and the nearest valid settings. `parallel: auto` chooses tensor, pipe and ZeRO
stage so that all of them hold; `parallel: {auto: true, tensor: 4}` keeps what is given.
"""


def constraints_page() -> str:
    """The page as Markdown: the table, and what one refusal looks like."""
    rows = [f"| {row.name} | {_cell(row.condition)} | {_cell(row.reason)} |" for row in CONSTRAINTS]
    table = "\n".join(("| rule | condition | reason |", "|---|---|---|", *rows))
    return f"{INTRODUCTION}\n{table}\n\n## A refusal\n\n{_example()}"


def _example() -> str:
    name, override, processes = EXAMPLE
    try:
        check_run(load_run(name, [override]), processes)
    except ConfigError as error:
        return f"```\n$ pretrain config check {name} {override} --processes {processes}\npretrain: {error}\n```\n"
    raise AssertionError(f"{EXAMPLE} is valid: the page needs one that is not")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
