"""CCNet's filter (Wenzek et al. 2020, section 3.4): documents that a language model of good text finds likely."""

from __future__ import annotations

from functools import lru_cache

from pretrain.config.clean import Perplexity as Config
from pretrain.corpus.clean import Dropped, Rule, Tallies
from pretrain.corpus.quality.perplexity import PerplexityModel
from pretrain.corpus.quality.saved import about


def perplexity(config: Config, tallies: Tallies) -> Rule:
    """Keeps the documents of some buckets, or those below a perplexity."""
    model = _model(config.path, about(config.path, "perplexity")["fingerprint"])
    counts = tallies["perplexity"]

    def rule(text: str) -> str | Dropped:
        found = model.perplexity(text)
        bucket = model.bucket(found)
        counts[bucket] += 1
        if config.maximum is not None:
            return text if found <= config.maximum else Dropped("maximum")
        return text if bucket in (config.keep or ()) else Dropped(f"keep.{bucket}")

    return rule


@lru_cache(maxsize=2)
def _model(path: str, fingerprint: str) -> PerplexityModel:
    return PerplexityModel.load(path)
