"""Validation loss per source, on the same windows at every layout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from pretrain.config.run import Run
from pretrain.data.batch import Batch
from pretrain.data.dataset import Corpus
from pretrain.data.loader import validation_places
from pretrain.parallel.process import World
from pretrain.shards.manifest import Manifest
from pretrain.training.step import SourceLoss, add_losses, source_loss, to_device


@dataclass(frozen=True)
class Score:
    """The loss on some validation tokens, in the units people compare."""

    loss: float
    """Nats per token."""
    perplexity: float
    bits_per_byte: float
    """Bits per byte of UTF-8 text: comparable across tokenizers."""


def validate(engine: Any, corpus: Corpus, run: Run, world: World) -> SourceLoss:
    """The summed losses over the validation windows, the same on every rank."""
    sources = len(corpus.sources)
    sums = torch.zeros(2 * sources, dtype=torch.float64, device=world.device)
    plan = validation_places(corpus, run.train.validation_tokens, run.batch.micro_batch_size, world.rank, world.size)
    engine.eval()
    with torch.no_grad():
        for places, counted in plan:
            batch = corpus.read(corpus.validation, places)
            per_token = engine.module(*to_device(batch, world.device)).per_token
            kept = Batch(batch.tokens[:counted], batch.source[:counted], None, batch.is_target[:counted])
            add_losses(sums, per_token[:counted], kept)
    engine.train()
    return source_loss(world.sum(sums))


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
