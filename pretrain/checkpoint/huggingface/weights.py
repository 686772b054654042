"""The weights of one model, to be asked for one after the other: what an export reads and an import has written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from pretrain.checkpoint.huggingface.tensors import Shape
from pretrain.config.model import Model
from pretrain.model.transformer import Transformer

VOCABULARY = ("embedding.tokens.weight", "head.weight")
"""Parameters with a row for each token, and in a run with padding rows, which nothing outside a run has."""


class Weights(Protocol):
    """Whole parameters by canonical name, fp32, without padding rows."""

    model: Model
    tokenizer: Path
    """Directory of its tokenizer."""

    def whole(self, name: str) -> Tensor:
        """One parameter. Raises ConfigError when it cannot be read."""

    def about(self) -> dict[str, Any]:
        """Where they come from."""


def shapes_of(model: Model) -> dict[str, Shape]:
    """Canonical name -> shape without padding rows, in the order of the layers; a tied head is not one."""
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Transformer(model).named_parameters()}
    return {name: (model.vocabulary, *shape[1:]) if name in VOCABULARY else shape for name, shape in shapes.items()}


class Fingerprint:
    """Of weights that pass by in canonical order: sixteen hex digits of names, shapes and fp32 numbers.

    The same for a model exported and imported again, whatever files it lies in.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, name: str, value: Tensor) -> None:
        """The next parameter."""
        self._digest.update(f"{name} {tuple(value.shape)}".encode())
        self._digest.update(value.float().contiguous().numpy().data)

    def __str__(self) -> str:
        return self._digest.hexdigest()[:16]


def build(weights: Weights) -> Transformer:
    """The model itself, fp32 on the CPU, for evaluation."""
    model = Transformer(weights.model)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in each(weights):
            parameters[name][: len(value)] = value
    return model.eval()


def each(weights: Weights) -> Iterator[tuple[str, Tensor]]:
    """One parameter after the other."""
    for name in shapes_of(weights.model):
        yield name, weights.whole(name)
