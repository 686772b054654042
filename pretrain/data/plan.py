"""The data plan: batch ramp, weight stages and skipped windows. With the manifest and the seed it fixes every batch.

Pure functions of the step; stored and hashed in every checkpoint. World size and layout do not appear in it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from pretrain.config.run import Mixture, Run
from pretrain.config.section import fingerprint
from pretrain.data.apportionment import whole_weights


@dataclass(frozen=True)
class Phase:
    """Steps of one batch size, from `first_step` until the next phase."""

    first_step: int
    first_sample: int
    batch_size: int


@dataclass(frozen=True)
class Stage:
    """One mixture, from sample `first_sample` of the order until the next stage. Weights are whole numbers."""

    first_sample: int
    weights: tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """Samples of the order that are never served."""

    first_sample: int
    samples: int


@dataclass(frozen=True)
class DataPlan:
    """What is served at each step."""

    seed: int
    sequence_length: int
    sources: tuple[str, ...]
    phases: tuple[Phase, ...]
    stages: tuple[Stage, ...]
    skipped: tuple[Window, ...] = ()

    def batch(self, step: int) -> tuple[int, int]:
        """(samples served before step `step`, samples of this step); steps count from 0."""
        phase = self.phases[bisect_right(self.phases, step, key=lambda phase: phase.first_step) - 1]
        return phase.first_sample + (step - phase.first_step) * phase.batch_size, phase.batch_size

    def tokens_before(self, step: int) -> int:
        """Tokens that the steps before `step` predict."""
        return self.batch(step)[0] * self.sequence_length

    def steps(self, tokens: int) -> int:
        """The number of steps after which at least `tokens` tokens have been predicted."""
        samples = -(-tokens // self.sequence_length)
        phase = self.phases[bisect_right(self.phases, samples - 1, key=lambda phase: phase.first_sample) - 1]
        return phase.first_step + -(-(samples - phase.first_sample) // phase.batch_size)

    def order_index(self, served: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Index in the order of the n-th served sample [n]: the skipped windows are jumped over."""
        index = served.copy()
        for window in self.skipped:
            index[index >= window.first_sample] += window.samples
        return index

    def served_before(self, index: int) -> int | None:
        """The inverse of `order_index`: samples served before sample `index` of the order; None for one left out."""
        before = 0
        for window in self.skipped:
            if index < window.first_sample:
                break
            if index < window.first_sample + window.samples:
                return None
            before += window.samples
        return index - before

    def step_of(self, served: int) -> int:
        """The step whose batch holds the sample that is served after `served` others; steps count from 0."""
        phase = self.phases[bisect_right(self.phases, served, key=lambda phase: phase.first_sample) - 1]
        return phase.first_step + (served - phase.first_sample) // phase.batch_size

    def window(self, steps: range) -> Window:
        """The samples of the order from the first of `steps` to the last."""
        served = [self.batch(steps.start)[0], sum(self.batch(steps.stop - 1)) - 1]
        first, last = self.order_index(np.array(served)).tolist()
        return Window(first, last - first + 1)

    def without(self, windows: Iterable[Window]) -> DataPlan:
        """The plan that leaves these out too; windows that overlap become one."""
        merged: list[Window] = []
        for window in sorted([*self.skipped, *windows], key=lambda window: window.first_sample):
            if merged and window.first_sample < (end := merged[-1].first_sample + merged[-1].samples):
                end = max(end, window.first_sample + window.samples)
                merged[-1] = Window(merged[-1].first_sample, end - merged[-1].first_sample)
            else:
                merged.append(window)
        return replace(self, skipped=tuple(merged))

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    def fingerprint(self) -> str:
        """Sixteen hex digits; equal plans serve equal batches from equal corpora."""
        return fingerprint(self.plain())

    def until(self, step: int) -> DataPlan:
        """What of the plan decides the batches before `step`: plans that agree on it served the same."""
        if step == 0:
            return replace(self, phases=(), stages=(), skipped=())
        served = self.batch(step)[0]
        end = int(self.order_index(np.array([served - 1]))[0])
        return replace(
            self,
            phases=tuple(phase for phase in self.phases if phase.first_step < step),
            stages=tuple(stage for stage in self.stages if stage.first_sample <= end),
            skipped=tuple(window for window in self.skipped if window.first_sample <= end),
        )

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> DataPlan:
        """What `plain` returned, also after JSON."""
        return cls(
            plain["seed"],
            plain["sequence_length"],
            tuple(plain["sources"]),
            tuple(Phase(**phase) for phase in plain["phases"]),
            tuple(Stage(stage["first_sample"], tuple(stage["weights"])) for stage in plain["stages"]),
            tuple(Window(**window) for window in plain["skipped"]),
        )


def differences(a: DataPlan, b: DataPlan) -> Iterator[str]:
    """How two plans begin to differ, by the fields of a run that decide it, such as `train.seed: 1 and 7`."""
    left, right = _fields(a), _fields(b)
    for name in left:
        for one, other in zip_longest(left[name], right[name], fillvalue="nothing more"):
            if one != other:
                yield f"{name}: {one} and {other}"
                break


def _fields(plan: DataPlan) -> dict[str, list[str]]:
    def mixture(stage: Stage) -> str:
        shares = (f"{name} {weight}" for name, weight in zip(plan.sources, stage.weights, strict=True) if weight)
        return f"{', '.join(shares)} from sample {stage.first_sample}"

    return {
        "train.seed": [str(plan.seed)],
        "data.sequence_length": [str(plan.sequence_length)],
        "sources": list(plan.sources),
        "batch": [f"{phase.batch_size} samples from step {phase.first_step + 1}" for phase in plan.phases],
        "data.mixture": list(map(mixture, plan.stages)),
        "data.skip": [f"{window.samples} samples from {window.first_sample}" for window in plan.skipped],
    }


def make_plan(run: Run, sources: Sequence[str], default: Mixture) -> DataPlan:
    """The plan of a run over a corpus with these sources; `default` is the corpus's own mixture.

    Mixtures must name sources of the corpus; a source that a mixture leaves out has weight 0.
    """
    first = run.data.mixture if run.data.mixture is not None else default
    stages = [Stage(0, _weights(first, sources))]
    for stage in run.data.stages:
        stages.append(Stage(stage.from_tokens // run.sequence_length, _weights(stage.mixture, sources)))
    skipped = sorted((Window(w.first_sample, w.samples) for w in run.data.skip), key=lambda w: w.first_sample)
    return DataPlan(
        seed=run.train.seed,
        sequence_length=run.sequence_length,
        sources=tuple(sources),
        phases=_phases(run),
        stages=tuple(stages),
        skipped=tuple(skipped),
    )


def _weights(mixture: Mixture, sources: Sequence[str]) -> tuple[int, ...]:
    return whole_weights([mixture.get(source, Decimal(0)) for source in sources])


def _phases(run: Run) -> tuple[Phase, ...]:
    """The ramp gives every batch size below the full one an equal share of the ramp's tokens."""
    length, ramp = run.sequence_length, run.batch.ramp
    full = run.batch.global_batch_size.samples(length)
    if ramp is None:
        return (Phase(0, 0, full),)
    start = ramp.start.samples(length)
    sizes = range(start, full, (ramp.increment or ramp.start).samples(length))
    phases, step, sample = [], 0, 0
    for number, size in enumerate(sizes, start=1):
        phases.append(Phase(step, sample, size))
        until = ramp.tokens * number // (length * len(sizes))
        steps = max(1, -(-(until - sample) // size))
        step, sample = step + steps, sample + steps * size
    return (*phases, Phase(step, sample, full))
