"""Bytes of parameters, gradients and optimizer state on one rank (Rajbhandari et al. 2020, sections 3 and 5).

P parameters of the rank before ZeRO, n data ranks. Stage 1 cuts the optimizer state by n, 2 the gradients too, 3 the
parameters too. Activations: activations.py.
"""

from __future__ import annotations

from typing import NamedTuple

from pretrain.config.counts import block_matrices
from pretrain.config.layout import Layout
from pretrain.config.moments import moments_of
from pretrain.config.run import Run
from pretrain.config.widths import PAPER, Widths, widths_of
from pretrain.planning.parts import Parts, blocks_in, parts_in, stage_layers


class States(NamedTuple):
    """Bytes on one rank."""

    parameters: float
    gradients: float
    optimizer: float

    @property
    def total(self) -> float:
        """All three."""
        return sum(self)


def zero_states(parameters: float, data: int, zero: int, widths: Widths = PAPER) -> States:
    """The states of `parameters` parameters under ZeRO stage `zero` over `data` ranks, without rounding."""
    cut = [data if zero >= stage else 1 for stage in (3, 2, 1)]
    return States(*(parameters * width / ranks for width, ranks in zip(widths, cut, strict=True)))


def _spared(run: Run, parts: Parts, blocks: int) -> float:
    """Bytes of Adam's two moments in fp32 that the rank's optimizer does without, before ZeRO."""
    if run.optimizer.name == "muon":  # one for the matrices of the blocks
        return 4 * blocks * block_matrices(run.model) / run.parallel.tensor
    if run.optimizer.name == "own":
        moments = moments_of(run.optimizer.algorithm, "matrix", ())
        return 4 * (2 - len(moments)) * parts.total
    if run.optimizer.name == "adafactor":  # a row and a column for a matrix, which are not counted, one for the rest
        return 8 * parts.matrices + 4 * (parts.vectors + parts.repeated)
    return 0


def state_bytes(run: Run, layout: Layout, pipe: int) -> States:
    """The states of a rank at place `pipe` of the pipe axis."""
    stages = list(stage_layers(run, pipe).values())
    parts = parts_in(run.model, run.parallel.tensor, stages)
    return states_of(run, layout.data, parts, blocks_in(run.model, stages), widths_of(run))


def states_of(run: Run, data: int, parts: Parts, blocks: int, widths: Widths) -> States:
    """The states of a rank that holds `parts`, with `blocks` blocks, shared out over `data` ranks.

    With ZeRO 3 biases and norms also stay whole (stage3_param_persistence_threshold in deepspeed.py).
    """
    states = zero_states(parts.total, data, run.parallel.zero, widths)
    ranks = data if run.parallel.zero else 1
    states = states._replace(optimizer=states.optimizer - _spared(run, parts, blocks) / ranks)
    if run.parallel.zero < 3:
        return states
    whole = (parts.vectors + parts.repeated) * widths.parameter
    return states._replace(parameters=states.parameters + whole)
