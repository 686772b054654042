"""The order: which sample of which source stands at each place. Pure functions; nothing is indexed or stored."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pretrain.data.apportionment import assign, counts, sample_number
from pretrain.data.permutation import permute, restore
from pretrain.data.plan import DataPlan

Indices = npt.NDArray[np.int64]


class Places(NamedTuple):
    """Where samples come from."""

    source: Indices
    """[n], index into the plan's sources."""
    position: Indices
    """[n], index of the sample inside its source."""


class Order:
    """The order of a plan over sources that hold `sizes` samples each."""

    def __init__(self, plan: DataPlan, sizes: Sequence[int]) -> None:
        self.plan = plan
        self.sizes = tuple(sizes)
        self._before_stage = self._count_stages()

    def step(self, step: int) -> Places:
        """The places of the global batch of `step`."""
        first, size = self.plan.batch(step)
        return self.places(np.arange(first, first + size, dtype=np.int64))

    def places(self, served: Indices) -> Places:
        """The places of the n-th served samples [n]."""
        return self.at(self.plan.order_index(served))

    def at(self, index: Indices) -> Places:
        """The places at these indices [n] of the order, whether they are served or left out."""
        source, drawn = self._draws(index)
        position = np.empty_like(drawn)
        for number in np.unique(source):
            mine = source == number
            position[mine] = self._positions(int(number), drawn[mine])
        return Places(source, position)

    def drawn(self, samples: int) -> list[int]:
        """How many of the first `samples` of the order each source gives."""
        stage = self._stage_of(samples)
        within = counts(samples - self.plan.stages[stage].first_sample, self.plan.stages[stage].weights)
        return [before + now for before, now in zip(self._before_stage[stage], within, strict=True)]

    def served(self, samples: int) -> list[int]:
        """How many of the first `samples` served each source gives; what skipped windows leave out is not served."""
        end = int(self.plan.order_index(np.array([samples - 1]))[0]) + 1 if samples else 0
        given = np.array(self.drawn(end))
        for window in self.plan.skipped:
            if window.first_sample < end:
                given -= self.drawn(window.first_sample + window.samples)
                given += self.drawn(window.first_sample)
        return [int(number) for number in given]

    def epochs(self, samples: int) -> list[float]:
        """How often each source has been gone through after the first `samples` served."""
        return [count / size if size else 0.0 for count, size in zip(self.served(samples), self.sizes, strict=True)]

    def indices(self, source: int, position: int, samples: int) -> list[int]:
        """Where among the first `samples` of the order a sample of a source stands, once an epoch; ascending."""
        total, size, found = self.drawn(samples)[source], self.sizes[source], []
        for epoch in range(-(-total // size)):
            within = restore(np.array([position], dtype=np.int64), size, self._key(source, epoch))
            if (drawn := epoch * size + int(within[0])) < total:
                found.append(self._index(source, drawn))
        return found

    def _draws(self, index: Indices) -> tuple[Indices, Indices]:
        """The source of each place of the order, and how many samples of it were drawn before."""
        source, drawn = np.empty_like(index), np.empty_like(index)
        stage_of = np.searchsorted([stage.first_sample for stage in self.plan.stages], index, side="right") - 1
        for number in np.unique(stage_of):
            here, stage = stage_of == number, self.plan.stages[number]
            source[here], within = assign(index[here] - stage.first_sample, stage.weights)
            drawn[here] = within + np.array(self._before_stage[number])[source[here]]
        return source, drawn

    def _positions(self, source: int, drawn: Indices) -> Indices:
        """A new permutation of the source for every epoch."""
        epoch, within = np.divmod(drawn, self.sizes[source])
        position = np.empty_like(drawn)
        for number in np.unique(epoch):
            mine = epoch == number
            position[mine] = permute(within[mine], self.sizes[source], self._key(source, int(number)))
        return position

    def _key(self, source: int, epoch: int) -> bytes:
        return f"{self.plan.seed}/{self.plan.sources[source]}/{epoch}".encode()

    def _index(self, source: int, drawn: int) -> int:
        """The index in the order of what a source gives after `drawn` samples."""
        number = bisect_right(self._before_stage, drawn, key=lambda before: before[source]) - 1
        stage = self.plan.stages[number]
        return stage.first_sample + sample_number(source, drawn - self._before_stage[number][source], stage.weights)

    def _count_stages(self) -> list[list[int]]:
        """Samples drawn from each source before each stage."""
        before = [[0] * len(self.sizes)]
        for stage, later in zip(self.plan.stages, self.plan.stages[1:], strict=False):
            drawn = counts(later.first_sample - stage.first_sample, stage.weights)
            before.append([a + b for a, b in zip(before[-1], drawn, strict=True)])
        return before

    def _stage_of(self, sample: int) -> int:
        return bisect_right(self.plan.stages, sample, key=lambda stage: stage.first_sample) - 1


def extend_hash(before: str, places: Places) -> str:
    """The running hash of the order: of all places served so far, from the hash before a batch and that batch."""
    digest = hashlib.sha256(before.encode())
    digest.update(places.source.astype("<i8").tobytes())
    digest.update(places.position.astype("<i8").tobytes())
    return digest.hexdigest()
