"""The check itself: the same training at several widths, and how what it moves grows with the width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pretrain.config.run import Run
from pretrain.coordinates.measure import PLACES, Sizes, measure
from pretrain.coordinates.widths import run_at
from pretrain.data.batch import Batch
from pretrain.data.dataset import Corpus
from pretrain.data.loader import micro_batches
from pretrain.shards.manifest import Manifest

TOLERANCE = 0.5
"""Largest exponent of the width that counts as none. Without muP they are 0.8 to 1.8, but for the embedding; with it
those of small models are off by up to 0.2 (docs/mup.md)."""
MAY_FALL = "attention scores"
"""At first they move by a product with random keys, or queries, which in a wide model is smaller (Yang et al. 2022,
appendix D.2, who therefore let queries start at 0): looked at for growth only."""


ALONE = (
    "parallel={tensor: 1, pipe: 1, zero: 0}",
    "precision={compute: fp32}",
    "deepspeed={}",
    "train.compile=false",
)
"""What is changed in a run so that one process can train it: the layout is no matter of the width."""


@dataclass(frozen=True)
class Coordinates:
    """What was found at each width, ascending."""

    run: Run
    sizes: dict[int, Sizes]

    def exponent(self, place: str) -> float:
        """a, where what all steps together moved at `place` is in proportion to width^a, by least squares of logs."""
        moved = [sizes.moved[place][-1] for sizes in self.sizes.values()]
        return float(np.polyfit(np.log(list(self.sizes)), np.log(moved), 1)[0])

    @property
    def depending(self) -> list[str]:
        """The places whose movement depends on the width."""
        lowest = {MAY_FALL: -float("inf")}
        return [p for p in PLACES if not lowest.get(p, -TOLERANCE) <= self.exponent(p) <= TOLERANCE]

    def plain(self) -> dict[str, object]:
        """As JSON can hold it."""
        exponents = {place: self.exponent(place) for place in PLACES}
        widths = {str(width): sizes._asdict() for width, sizes in self.sizes.items()}
        return {"exponents": exponents, "tolerance": TOLERANCE, "depending": self.depending, "widths": widths}


def first_batches(run: Run, manifest: Manifest, steps: int) -> list[Batch]:
    """The first micro-batch of each of the run's first steps. Raises ConfigError when the corpus does not suit it."""
    corpus = Corpus(manifest, run.sequence_length, run.data.document_mask)
    order = corpus.order(corpus.plan(run))
    places = (next(micro_batches(order, step, run.batch.micro_batch_size, 0, 1)) for step in range(steps))
    return [corpus.read(corpus.train, each) for each in places]


def look(run: Run, batches: Sequence[Batch], widths: Sequence[int]) -> Iterator[tuple[int, Sizes]]:
    """Each width as it is done."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for width in widths:
        yield width, measure(run_at(run, width), batches, device)
