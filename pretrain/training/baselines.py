"""The n-gram lines of a run: counted on its own training tokens, in its order, measured on its validation windows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pretrain.data.loader import validation_places
from pretrain.monitoring.ngrams import NgramCounts, Tokens
from pretrain.training.setup import Session

MOST_TOKENS = 20_000_000
"""Counting stops here: the first tokens of a longer run stand for all."""
CHUNK = 512
"""Samples read at a time."""


def ngram_losses(session: Session) -> dict[str, float]:
    """{"unigram": nats, "bigram": nats} per validation token."""
    counts = NgramCounts(session.run.model.vocabulary)
    counts.add(_training_windows(session))
    return counts.losses(_validation_windows(session))


def _training_windows(session: Session) -> Iterator[Tokens]:
    samples = min(session.plan.batch(session.total_steps)[0], MOST_TOKENS // session.plan.sequence_length)
    for first in range(0, samples, CHUNK):
        places = session.order.places(np.arange(first, min(first + CHUNK, samples), dtype=np.int64))
        yield session.corpus.read(session.corpus.train, places).tokens


def _validation_windows(session: Session) -> Iterator[Tokens]:
    corpus = session.corpus
    for places, counted in validation_places(corpus, session.run.train.validation_tokens, CHUNK, 0, 1):
        yield corpus.read(corpus.validation, places).tokens[:counted]
