"""Bytes per parameter of what training keeps of it."""

from __future__ import annotations

from typing import NamedTuple

from pretrain.config.run import Run


class Widths(NamedTuple):
    """Bytes per parameter."""

    parameter: int
    gradient: int
    optimizer: int
    """fp32 master copy and both moments of Adam: K = 12 in the paper. Other algorithms keep less (planning.memory)."""


PAPER = Widths(2, 2, 12)
"""Mixed precision in fp16 (Rajbhandari et al. 2020, section 3.1)."""


def widths_of(run: Run) -> Widths:
    """What the formulas count. bf16 and fp16: gradients of micro-batches are summed in fp32. fp32 under ZeRO: DeepSpeed
    keeps a master copy too."""
    if run.precision.compute != "fp32":
        return Widths(2, 4, 12)
    return Widths(4, 4, 12 if run.parallel.zero else 8)


def widths_held(run: Run) -> Widths:
    """What is really there: with ZeRO 1 in bf16 DeepSpeed keeps bf16 gradients beside their fp32 sums."""
    widths = widths_of(run)
    beside = 2 if run.precision.compute == "bf16" and run.parallel.zero == 1 else 0
    return widths._replace(gradient=widths.gradient + beside)
