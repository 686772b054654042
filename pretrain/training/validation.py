"""Validation loss per source, on the same windows at every layout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from pretrain.config.run import Run
from pretrain.data.batch import Batch
from pretrain.data.dataset import Corpus
from pretrain.data.loader import validation_places
from pretrain.data.order import Places
from pretrain.parallel.mesh import Mesh
from pretrain.parallel.runner import Runner
from pretrain.shards.manifest import Manifest
from pretrain.training.share import share
from pretrain.training.step import SourceLoss, add_losses, source_loss, to_device


@dataclass(frozen=True)
class Score:
    """The loss on some validation tokens, in the units people compare."""

    loss: float
    """Nats per token."""
    perplexity: float
    bits_per_byte: float
    """Bits per byte of UTF-8 text: comparable across tokenizers."""


def validate(runner: Runner, corpus: Corpus, run: Run, mesh: Mesh) -> SourceLoss:
    """The summed losses over the validation windows, the same on every rank."""
    device = mesh.world.device
    sums = torch.zeros(2 * len(corpus.sources), dtype=torch.float64, device=device)
    for group in _groups(corpus, run, mesh):
        batches = _read([places for places, _ in group], corpus, run, mesh) if runner.reads else []
        per_token = runner.evaluate([to_device(batch, device) for batch in batches], len(group))
        if runner.reports:
            for batch, losses, (_, counted) in zip(batches, per_token, group, strict=True):
                kept = Batch(batch.tokens[:counted], batch.source[:counted], None, batch.is_target[:counted])
                add_losses(sums, losses[:counted], kept)
    return source_loss(mesh.world.sum(sums))


def _read(parts: list[Places], corpus: Corpus, run: Run, mesh: Mesh) -> list[Batch]:
    mine = corpus.read_together(corpus.validation, parts) if mesh.is_first_of_tensor else []
    return share(mine, len(parts), run.batch.micro_batch_size, corpus, mesh)


def _groups(corpus: Corpus, run: Run, mesh: Mesh) -> Iterator[list[tuple[Places, int]]]:
    """The windows of this data rank, in groups of micro-batches: a pipeline is filled anew for each group."""
    size, pipe = run.batch.micro_batch_size, mesh.layout.pipe
    least = 2 * pipe if run.parallel.schedule == "dualpipev" else 1
    tokens = run.train.validation_tokens
    windows = validation_places(corpus, tokens, size, mesh.at.data, mesh.layout.data, least)
    while group := list(islice(windows, 8 * pipe if pipe > 1 else 1)):
        yield group


def scores(losses: SourceLoss, manifest: Manifest) -> dict[str, Score]:
    """The score of each source, and of all together under "all", weighted by their validation tokens."""
    result, bits, size = {}, 0.0, 0.0
    for (name, source), loss, tokens in zip(manifest.sources.items(), losses.loss, losses.tokens, strict=True):
        split = source.splits["validation"]
        if tokens:
            bytes_per_token = split.text_bytes / split.tokens
            bits, size = bits + loss / math.log(2), size + tokens * bytes_per_token
            result[name] = _score(loss / tokens, bytes_per_token)
    if result:
        result["all"] = Score(losses.mean, _perplexity(losses.mean), bits / size)
    return result


def _score(loss: float, bytes_per_token: float) -> Score:
    return Score(loss, _perplexity(loss), loss / math.log(2) / bytes_per_token)


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))  # a diverging run must not end in an OverflowError
