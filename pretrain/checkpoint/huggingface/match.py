"""How one of our parameters lies in tensors of another architecture, both ways."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Parts = tuple[Tensor, ...]
Change = Callable[[Tensor], Tensor]


class NotZeroError(ValueError):
    """Numbers that the other side has no place for."""


@dataclass(frozen=True)
class Match:
    """One of our parameters and the tensors that it is, or is a part of, there."""

    ours: str
    theirs: tuple[str, ...]
    """Empty: they have none, and ours must be zero."""
    split: Callable[[Tensor], Parts]
    """Ours into theirs. Raises NotZeroError."""
    join: Callable[[Parts], Tensor]
    """Theirs into ours. Raises NotZeroError."""


def same(ours: str, theirs: str) -> Match:
    """The same tensor under another name."""
    return Match(ours, (theirs,), lambda value: (value,), lambda parts: parts[0])


def transposed(ours: str, theirs: str) -> Match:
    """A matrix kept as inputs x outputs, as in GPT-2's Conv1D."""
    return Match(ours, (theirs,), lambda value: (value.T,), lambda parts: parts[0].T)


def rows(ours: str, theirs: Sequence[str], sizes: Sequence[int]) -> Match:
    """Blocks of rows that are tensors of their own there, such as queries, keys and values."""
    return Match(ours, tuple(theirs), lambda value: torch.split(value, list(sizes)), torch.cat)


def scaled(match: Match, part: int, factor: float) -> Match:
    """`match` with one part of theirs multiplied by `factor` on the way out and divided on the way back."""
    return _changed(match, part, lambda value: value * factor, lambda value: value * (1 / factor))


def permuted(match: Match, part: int, order: Tensor) -> Match:
    """`match` with the rows of one part of theirs in another order: row i there is row order[i] here."""
    back = order.argsort()
    return _changed(match, part, lambda value: value[order], lambda value: value[back])


def _changed(match: Match, part: int, out: Change, back: Change) -> Match:
    def changed(parts: Parts, change: Change) -> Parts:
        return (*parts[:part], change(parts[part]), *parts[part + 1 :])

    return replace(
        match,
        split=lambda value: changed(match.split(value), out),
        join=lambda parts: match.join(changed(parts, back)),
    )


def zero_bias(match: Match, biases: Sequence[str], sizes: Sequence[int] = ()) -> Match:
    """`match` where they have a bias beside it, or one beside each block of rows, that our model does not have."""

    def split(value: Tensor) -> Parts:
        return (*match.split(value), *torch.split(value.new_zeros(len(value)), list(sizes) or len(value)))

    def join(parts: Parts) -> Tensor:
        own = len(match.theirs)
        for name, bias in zip(biases, parts[own:], strict=True):
            _check_zero(bias, name)
        return match.join(parts[:own])

    return Match(match.ours, (*match.theirs, *biases), split, join)


def absent(ours: str, shape: tuple[int, ...]) -> Match:
    """A parameter of ours that they do not have."""

    def split(value: Tensor) -> Parts:
        _check_zero(value, ours)
        return ()

    return Match(ours, (), split, lambda _: torch.zeros(shape))


def _check_zero(value: Tensor, name: str) -> None:
    if value.any():
        largest, count = value.abs().max().item(), math.prod(value.shape)
        raise NotZeroError(f"{name} must be zero; the largest of its {count:,} numbers is {largest:.3g}")
