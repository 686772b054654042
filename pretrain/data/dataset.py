"""A corpus opened for training: any sample of the order, any step's batch, on any rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from pretrain.config.errors import ConfigError, Problem, nearest
from pretrain.config.run import Run
from pretrain.data.batch import NOTHING, Batch, Cost, Tokens, make_batch
from pretrain.data.order import Order, Places
from pretrain.data.plan import DataPlan, make_plan
from pretrain.data.reads import Files, Reads
from pretrain.data.stream import TokenStream
from pretrain.shards.manifest import Manifest


class Corpus:
    """The splits of a manifest as token streams of a given sequence length. Opening reads no tokens and no index."""

    def __init__(self, manifest: Manifest, sequence_length: int, document_mask: bool = False) -> None:
        if document_mask and not manifest.appends_end_of_text:
            rule = "needs a corpus whose documents end with end-of-text"
            raise ConfigError.of("data.document_mask", True, rule, "prepare the corpus with append_end_of_text: true")
        if (packing := manifest.packing) and packing.sequence_length != sequence_length:
            rule = f"must be {packing.sequence_length}: {manifest.name} was packed for it"
            fix = "set it so, or prepare a corpus with packing.sequence_length (or without packing)"
            raise ConfigError.of("data.sequence_length", sequence_length, rule, fix)
        self.manifest = manifest
        self.sequence_length = sequence_length
        self._padding = manifest.tokenizer.end_of_text if packing else None
        self.sources = tuple(manifest.sources)
        self._document_end = manifest.tokenizer.end_of_text if document_mask else None
        self._files = Files()
        self.train = self._streams("train")
        self.validation = self._streams("validation")

    def read(self, streams: Sequence[TokenStream], places: Places) -> Batch:
        """The samples at `places` [B] of `streams` (train or validation)."""
        return self.read_together(streams, [places])[0]

    def read_together(self, streams: Sequence[TokenStream], parts: Sequence[Places]) -> list[Batch]:
        """Several batches in as few requests as can be; the first one bears the cost of all."""
        reads = Reads(self._files)
        rows = [self._read_rows(streams, places, reads) for places in parts]
        costs = [reads.finish()] + [NOTHING] * (len(parts) - 1)
        return [
            self.batch(raw.astype(np.int32), places.source, cost)
            for raw, places, cost in zip(rows, parts, costs, strict=True)
        ]

    def batch(self, tokens: Tokens, source: npt.NDArray[np.int64], cost: Cost = NOTHING) -> Batch:
        """The batch of tokens [B, T+1] that were read from sources [B]."""
        return make_batch(tokens, source, self._document_end, self._padding, cost)

    def plan(self, run: Run) -> DataPlan:
        """The run's data plan over this corpus. Raises ConfigError for unknown or empty sources in a mixture."""
        default = {name: Decimal(source.weight) for name, source in self.manifest.sources.items()}
        if problems := list(self._mixture_problems(run, default)):
            raise ConfigError(problems)
        plan = make_plan(run, self.sources, default)
        if problems := list(self._epoch_problems(run, plan)):
            raise ConfigError(problems)
        return plan

    def order(self, plan: DataPlan) -> Order:
        """The order of training samples that the plan gives."""
        return Order(plan, [stream.samples for stream in self.train])

    def _read_rows(self, streams: Sequence[TokenStream], places: Places, reads: Reads) -> npt.NDArray[Any]:
        """[B, T+1] of the manifest's dtype, filled when `reads` is finished."""
        raw = np.empty((len(places.source), self.sequence_length + 1), dtype=self.manifest.dtype)
        for row, source, position in zip(raw, places.source.tolist(), places.position.tolist(), strict=True):
            streams[source].read_into(position, row, reads)
        return raw

    def _streams(self, split: str) -> list[TokenStream]:
        manifest, length = self.manifest, self.sequence_length
        stride = length + 1 if manifest.packing else length
        return [
            TokenStream(source.splits[split], manifest.directory, manifest.dtype, length, stride)
            for source in manifest.sources.values()
        ]

    def _epoch_problems(self, run: Run, plan: DataPlan) -> Iterator[Problem]:
        most = run.data.max_epochs
        if most is None:
            return
        epochs = self.order(plan).epochs(plan.batch(plan.steps(run.train.tokens))[0])
        for name, epoch in zip(self.sources, epochs, strict=True):
            if epoch > most:
                rule = f"{name} would be gone through {epoch:.3g} times"
                yield Problem("data.max_epochs", most, rule, "lower its weight or train.tokens, or allow it")

    def _mixture_problems(self, run: Run, default: dict[str, Decimal]) -> Iterator[Problem]:
        stages = {f"data.stages.{n}.mixture": stage.mixture for n, stage in enumerate(run.data.stages)}
        first = run.data.mixture if run.data.mixture is not None else default
        samples = {name: stream.samples for name, stream in zip(self.sources, self.train, strict=True)}
        if not any(first.values()):
            yield Problem("data.mixture", first, "the corpus's own weights are all 0", "give data.mixture")
        for field, mixture in {"data.mixture": first, **stages}.items():
            for name, weight in mixture.items():
                if name not in samples:
                    guess = nearest(name, self.sources)
                    fix = f"did you mean {guess!r}?" if guess else f"sources: {', '.join(self.sources)}"
                    yield Problem(f"{field}.{name}", weight, "must name a source of the corpus", fix)
                elif weight and not samples[name]:
                    rule = f"has no sample of {self.sequence_length} tokens"
                    yield Problem(f"{field}.{name}", weight, rule, "give it weight 0, more text or shorter sequences")
