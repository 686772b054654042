"""The language model of CCNet's filter (Wenzek et al. 2020, section 3.4) and its buckets.

There a 5-gram model over sentencepiece tokens of Wikipedia; here n-grams over a byte-level BPE of the good sources, so
that no word is unknown. Normalised as there: lower case, digits to 0; spaces and ends of lines are one space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pretrain.config.clean import Bucket
from pretrain.corpus.quality.lookup import SortedKeys
from pretrain.corpus.quality.ngrams import Level, Ngrams, estimate
from pretrain.corpus.quality.saved import about, save, tensors
from tokenizer import Tokenizer, load_tokenizer, train_tokenizer

PERCENTILES = (33, 66)
"""Of the perplexity of raw documents: head, middle and tail are about a third of them each."""
MINIMUM = (1, 1, 2, 2, 2)
"""Occurrences that an n-gram needs, by length."""
DIGITS = bytes.maketrans(b"123456789", b"000000000")


@dataclass(frozen=True)
class PerplexityModel:
    """Scores texts by how unlikely a language model finds them; lower is better."""

    tokenizer: Tokenizer
    ngrams: Ngrams
    cutoffs: tuple[float, float] = (math.inf, math.inf)
    """The perplexities from which on documents are middle, and tail."""

    def perplexity(self, text: str) -> float:
        """Of a token, by the mean over the document; infinite for an empty one."""
        tokens = self.tokenizer.backend.encode(_normalized(text))
        return math.exp(-float(np.mean(self.ngrams.log_probabilities(tokens)))) if len(tokens) else math.inf

    def bucket(self, perplexity: float) -> Bucket:
        """Where a document of this perplexity belongs."""
        middle, tail = self.cutoffs
        return "head" if perplexity < middle else "middle" if perplexity < tail else "tail"

    def cut(self, raw: Sequence[str]) -> PerplexityModel:
        """The same with cut-offs at the percentiles of these texts."""
        low, high = np.percentile([self.perplexity(text) for text in raw], PERCENTILES)
        return replace(self, cutoffs=(float(low), float(high)))

    def save(self, directory: Path, told: dict[str, Any]) -> str:
        """Write it and return its fingerprint."""
        self.tokenizer.save(directory / "tokenizer")
        arrays: dict[str, npt.NDArray[Any]] = {}
        for length, level in enumerate(self.ngrams.levels, 1):
            arrays[f"{length}.keys"] = level.keys.keys
            arrays[f"{length}.probability"], arrays[f"{length}.backoff"] = level.probability, level.backoff
        ngrams = [len(level.probability) for level in self.ngrams.levels]
        settings = {"minimum": MINIMUM[: len(ngrams)], "ngrams": ngrams, "vocabulary": self.ngrams.vocabulary}
        settings |= {"start": self.ngrams.start, "percentiles": PERCENTILES, "cutoffs": self.cutoffs}
        beside = ("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json")
        return save(directory, "perplexity", settings, arrays, told, *beside)

    @classmethod
    def load(cls, path: str) -> PerplexityModel:
        """Read one. Raises ConfigError."""
        settings, arrays = about(path, "perplexity")["settings"], tensors(path)
        levels = [
            Level(SortedKeys(arrays[f"{n}.keys"]), arrays[f"{n}.probability"], arrays[f"{n}.backoff"])
            for n in range(1, len(settings["ngrams"]) + 1)
        ]
        ngrams = Ngrams(settings["vocabulary"], settings["start"], tuple(levels))
        low, high = settings["cutoffs"]
        return cls(load_tokenizer(Path(path) / "tokenizer"), ngrams, (low, high))

    @classmethod
    def train(cls, texts: Sequence[str], vocab_size: int, order: int) -> PerplexityModel:
        """A model of n-grams up to length `order` of these texts. Raises ConfigError when they are too few."""
        normalized = [_normalized(text) for text in texts]
        tokenizer = train_tokenizer(normalized, vocab_size)
        documents = [tokenizer.backend.encode(text) for text in normalized]
        return cls(tokenizer, estimate(documents, vocab_size, tokenizer.end_of_text, MINIMUM[:order]))


def _normalized(text: str) -> str:
    return " ".join(text.lower().split()).encode().translate(DIGITS).decode()
