"""Synthetic batches: tokens drawn from the seed, laid out over ranks and micro-batches as those of a corpus are."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import numpy as np

from pretrain.config.run import Run
from pretrain.data.batch import Batch, make_batch
from pretrain.data.loader import micro_batches
from pretrain.data.order import Order, Places
from pretrain.data.plan import DataPlan, make_plan

SOURCES = ("synthetic",)
SAMPLES = 2**20
"""Of the source: more than any verification draws."""
END_OF_TEXT = 0


def synthetic_order(run: Run) -> Order:
    """The order of samples of a run over one synthetic source."""
    return Order(make_plan(run, SOURCES, {SOURCES[0]: Decimal(1)}), [SAMPLES])


def synthetic_batches(run: Run, order: Order, steps: int, rank: int, ranks: int) -> Iterator[Batch]:
    """The micro-batches of data rank `rank` of `ranks`, step after step."""
    for step in range(steps):
        for places in micro_batches(order, step, run.batch.micro_batch_size, rank, ranks):
            yield read_synthetic(run, places)


def read_synthetic(run: Run, places: Places) -> Batch:
    """The samples at `places` [B]. Small ids are frequent, as in text; id 0 (6% of 256) ends a document."""
    rows = [_tokens(run, int(position)) for position in places.position]
    return make_batch(np.stack(rows), places.source, END_OF_TEXT if run.data.document_mask else None)


def targets(run: Run, plan: DataPlan, step: int) -> int | None:
    """Target tokens of the global batch of `step`; None where masked documents make them be counted."""
    return None if run.data.document_mask else plan.batch(step)[1] * plan.sequence_length


def _tokens(run: Run, position: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """[T+1] ids of one sample, a function of the seed and its position alone."""
    drawn = np.random.Generator(np.random.Philox(key=[run.train.seed, position])).random(run.sequence_length + 1)
    return (run.model.vocabulary * drawn**2).astype(np.int32)
