"""Text from a model: one token after the other, drawn from the logits.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.config.errors import ConfigError, Problem
from pretrain.model.cache import Cache
from pretrain.model.transformer import Transformer


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. Raises ConfigError on values out of range."""

    temperature: float = 1.0
    """Divides the logits; 0 always takes the most likely token."""
    top_k: int = 0
    """Draw among the k most likely tokens only (Fan et al. 2018); 0: all."""
    top_p: float = 1.0
    """Then among the fewest tokens that together have this probability (Holtzman et al. 2020)."""

    def __post_init__(self) -> None:
        checks = (
            ("temperature", self.temperature, self.temperature >= 0, "must not be negative", "1.0, or 0 for greedy"),
            ("top_k", self.top_k, self.top_k >= 0, "must not be negative", "40, or 0 for all tokens"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "must be above 0 and at most 1", "0.95, or 1.0 for all tokens"),
        )
        problems = [Problem(field, value, rule, fix) for field, value, fine, rule, fix in checks if not fine]
        if problems:
            raise ConfigError(problems)

    def draw(self, logits: Tensor, generator: torch.Generator) -> int:
        """A token id from logits [V]."""
        if self.temperature == 0:  # without sorting the vocabulary; of equals the first, as below
            return int(logits.argmax())
        return int(torch.multinomial(self.probabilities(logits), 1, generator=generator))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probability of each token to be drawn: [V] -> [V] fp64, sums to 1. Of equals, the lower id comes first."""
        ordered, ids = logits.double().sort(descending=True, stable=True)
        kept = 1 if self.temperature == 0 else self.top_k or len(ids)
        ordered = (ordered - ordered[0]) / (self.temperature or 1.0)  # the largest is 0: nothing overflows
        ordered[kept:] = float("-inf")
        likely = ordered.softmax(dim=0)
        before = likely.cumsum(dim=0) - likely
        likely = torch.where(before < self.top_p, likely, 0.0)
        return torch.zeros_like(likely).scatter(0, ids, likely / likely.sum())


def generate(
    model: Transformer,
    prompt: Sequence[int],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: int | None = None,
    use_cache: bool = True,
) -> Iterator[int]:
    """Token ids that follow `prompt`, one by one, at most `max_new_tokens`; ends before the id `stop`.

    `temperature`, `top_k` and `top_p` are Sampling's. The same seed gives the same tokens on every device, up to
    rounding of the logits. When the context is full, its last half is read again as if it were the start (learned
    positions cannot slide), so the text goes on; a longer prompt is read from its last `context` tokens on.
    `use_cache` changes the time and nothing else. Raises ConfigError at once on an empty prompt, an id outside the
    vocabulary, or sampling values out of range.
    """
    _check_prompt(prompt, model.config.vocabulary)
    return _tokens(model, list(prompt), max_new_tokens, Sampling(temperature, top_k, top_p), seed, stop, use_cache)


def _tokens(
    model: Transformer, ids: list[int], count: int, sampling: Sampling, seed: int, stop: int | None, use_cache: bool
) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)  # on the CPU, whatever the model's device
    reader = _Reader(model, len(ids) + count, use_cache)
    for _ in range(count):
        token = sampling.draw(reader.logits_after(ids).cpu(), generator)
        if token == stop:
            return
        ids.append(token)
        yield token


class _Reader:
    """Logits after a growing list of ids, reading only what is new."""

    def __init__(self, model: Transformer, longest: int, use_cache: bool) -> None:
        self.model = model
        self.context = model.config.context
        self.first = 0  # index of the first id in the window
        self.read = 0  # ids before this index are in the cache
        weight = model.embedding.tokens.weight
        capacity = min(self.context, longest)
        self.cache = Cache(model.config, 1, capacity, weight.device, weight.dtype) if use_cache else None

    def logits_after(self, ids: list[int]) -> Tensor:
        """[V] fp32: what follows the last id."""
        self._slide(len(ids))
        fresh = ids[self.read if self.cache else self.first :]
        inputs = torch.tensor([fresh], device=self.model.embedding.tokens.weight.device)
        with torch.inference_mode(), _evaluating(self.model):
            logits = self.model.logits(inputs, cache=self.cache, last=True)
        self.read = len(ids)
        return logits[0, 0]

    def _slide(self, length: int) -> None:
        """Open a new window when the old one is full."""
        if length - self.first <= self.context:
            return
        kept = self.context if self.read == 0 else max(1, self.context // 2)
        self.first = self.read = length - kept
        if self.cache:
            self.cache.clear()


@contextmanager
def _evaluating(model: Transformer) -> Iterator[None]:
    """No dropout; afterwards the model is as it was. To tell all modules takes as long as a layer of a small model."""
    if not model.training:
        yield
        return
    model.eval()
    try:
        yield
    finally:
        model.train()


def _check_prompt(prompt: Sequence[int], vocabulary: int) -> None:
    if not prompt:
        raise ConfigError.of("prompt", [], "must have at least one token", "start with the end-of-text token")
    wrong = [token for token in prompt if not 0 <= token < vocabulary]
    if wrong:
        rule = f"must be ids below the vocabulary's {vocabulary}"
        raise ConfigError.of("prompt", wrong, rule, "use the tokenizer that the model was trained with")
