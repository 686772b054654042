"""A run at other widths, everything else in proportion. Without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd

from pretrain.config.errors import ConfigError, Problem
from pretrain.config.run import Run

DOUBLINGS = 4
"""Widths that are looked at unless somebody names them: the base and its doubles."""


def chosen_widths(run: Run, asked: Sequence[int]) -> list[int]:
    """What was asked for, ascending; else the base of muP, or without it the run's own width, and its doubles.

    Raises ConfigError when there are fewer than two, or a size at one of them is no whole number.
    """
    base = run.model.mup.base_d_model if run.model.mup else run.model.d_model
    widths = sorted(set(asked)) or [base << doubling for doubling in range(DOUBLINGS)]
    if len(widths) < 2:
        rule = "must be at least two, to see what grows from one to the other"
        raise ConfigError.of("--widths", ",".join(map(str, widths)), rule, f"--widths {widths[0]},{2 * widths[0]}")
    if problems := list(_problems(run, widths)):
        raise ConfigError(problems)
    return widths


def run_at(run: Run, width: int) -> Run:
    """`run` with this d_model: more heads of the same width, or where muP has a base_d_head wider ones."""
    model = run.model
    sizes = {name: size * width // model.d_model for name, size in _sizes(run).items()}
    return Run.parse(run.plain() | {"model": model.plain() | {"d_head": model.head_width, "d_model": width} | sizes})


def _sizes(run: Run) -> dict[str, int]:
    """What grows with the width."""
    model = run.model
    if model.mup and model.mup.base_d_head:
        return {"d_ff": model.mlp_width, "d_head": model.head_width}
    return {"d_ff": model.mlp_width, "heads": model.heads, "kv_heads": model.key_heads}


def _problems(run: Run, widths: Sequence[int]) -> Iterator[Problem]:
    d_model, sizes = run.model.d_model, _sizes(run)
    unit = d_model // gcd(d_model, *sizes.values())
    for width in widths:
        for name, size in sizes.items():
            if width < 1 or size * width % d_model:
                rule = f"must give a whole number of {name}: {size} x {width} / {d_model} is none"
                yield Problem("--widths", width, rule, f"a multiple of {unit}")
                break
