"""The same tokens through our model and through what transformers loads: how far apart are the logits?"""

from __future__ import annotations

import gc
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pretrain.checkpoint.huggingface.theirs import quiet
from pretrain.checkpoint.huggingface.weights import Weights, build
from pretrain.config.errors import RunError

LENGTH = 512
"""Tokens, if the context is not shorter."""
SEED = 0
TOLERANCE = 1e-3
"""Of the largest logit. fp32 rounding gives 1e-6 of it; a wrong mapping something near 1."""


@dataclass(frozen=True)
class Compared:
    """Of two models, fp32 on a CPU."""

    largest_logit_difference: float
    """Absolute."""
    largest_logit: float
    sequence_length: int
    compared_on: str = f"random tokens, seed {SEED}"

    def __str__(self) -> str:
        return (
            f"the largest of {self.sequence_length} tokens' logits is {self.largest_logit:.4g}; "
            f"the largest difference to transformers' is {self.largest_logit_difference:.2e}"
        )

    def check(self) -> None:
        """Raises RunError unless both compute the same."""
        if not self.largest_logit_difference <= TOLERANCE * self.largest_logit:
            raise RunError(f"transformers computes another model, nothing was written: {self}")


def plain(compared: Compared | None) -> dict[str, Any]:
    """As export.json and import.json have it."""
    if compared is None:
        return {"largest_logit_difference": None, "why": "not compared: --no-check"}
    return asdict(compared)


def compare(directory: Path, weights: Weights) -> Compared:
    """One whole model is in memory at a time."""
    model = weights.model
    generator = torch.Generator().manual_seed(SEED)
    tokens = torch.randint(model.vocabulary, (1, min(LENGTH, model.context)), generator=generator)
    with torch.no_grad():
        ours = build(weights).logits(tokens)
        gc.collect()
        theirs = _theirs(directory, tokens)
    return Compared((ours - theirs).abs().max().item(), ours.abs().max().item(), tokens.shape[1])


def _theirs(directory: Path, tokens: Tensor) -> Tensor:
    from transformers import AutoModelForCausalLM

    with quiet():
        other = AutoModelForCausalLM.from_pretrained(str(directory), local_files_only=True, use_safetensors=True)
    logits: Tensor = other.float().eval()(tokens).logits
    return logits
