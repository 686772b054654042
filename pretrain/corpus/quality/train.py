"""Train the filters from the sources of a recipe, judge them, and store them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.corpus.clean.classifier import ALPHA, kept_share
from pretrain.corpus.progress import Reporter
from pretrain.corpus.quality.classifier import Classifier
from pretrain.corpus.quality.judge import Judgement, judge
from pretrain.corpus.quality.perplexity import PerplexityModel
from pretrain.corpus.quality.samples import Sample


@dataclass(frozen=True)
class Trained:
    """A filter that was stored."""

    fingerprint: str
    judgement: Judgement


def train_classifier(samples: Sequence[Sample], directory: Path, reporter: Reporter) -> Trained:
    """GPT-3's filter. Sources of a class share its weight equally, and both classes weigh the same."""
    texts = [text for sample in samples for text in sample.texts]
    good = [sample.good for sample in samples for _ in sample.texts]
    sources = {kind: sum(sample.good is kind for sample in samples) for kind in (True, False)}
    weights = [1 / len(sample.texts) / sources[sample.good] / 2 for sample in samples for _ in sample.texts]
    reporter.say(f"training a classifier on {len(texts):,} documents")
    model = Classifier.train(texts, good, weights)
    scores = [np.array([model.score(text) for text in sample.held_out]) for sample in samples]
    kept = {
        "score > 0.5": [(own > 0.5).astype(float) for own in scores],
        f"pareto({ALPHA:g})": [kept_share(own, ALPHA) for own in scores],
    }
    judgement = judge(samples, scores, kept)
    return Trained(model.save(directory, _told(samples, judgement)), judgement)


def train_perplexity(
    samples: Sequence[Sample], directory: Path, vocab_size: int, order: int, reporter: Reporter
) -> Trained:
    """CCNet's filter: a language model of the good sources, cut at percentiles of the raw ones."""
    good = [text for sample in samples if sample.good for text in sample.texts]
    raw = [text for sample in samples if not sample.good for text in sample.texts]
    reporter.say(f"training a language model on {len(good):,} documents")
    model = PerplexityModel.train(good, vocab_size, order)
    reporter.say(f"cutting at percentiles of {len(raw):,} raw documents")
    model = model.cut(raw)
    found = [np.array([model.perplexity(text) for text in sample.held_out]) for sample in samples]
    names = (("head", model.cutoffs[0]), ("head, middle", model.cutoffs[1]))
    kept = {name: [(own < most).astype(float) for own in found] for name, most in names}
    judgement = judge(samples, [-own for own in found], kept)
    return Trained(model.save(directory, _told(samples, judgement)), judgement)


def _told(samples: Sequence[Sample], judgement: Judgement) -> dict[str, Any]:
    def sources(good: bool) -> dict[str, Any]:
        own = [sample for sample in samples if sample.good is good]
        return {sample.source: {"documents": len(sample.texts), "bytes_with_held_out": sample.bytes} for sample in own}

    return {"trained_on": {"good": sources(True), "raw": sources(False)}, "held_out": judgement.plain()}
