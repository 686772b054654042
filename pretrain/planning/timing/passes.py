"""Seconds of a forward and a backward pass, by what takes them."""

from __future__ import annotations

from typing import NamedTuple


class Spent(NamedTuple):
    """Seconds of one pass."""

    matmul: float = 0.0
    attention: float = 0.0
    memory: float = 0.0
    """Norms, residuals, activations: bound by the memory's bandwidth."""
    host: float = 0.0
    """The GPU waits for the host, which starts kernels one by one."""
    tensor: float = 0.0
    """Exchange over the tensor axis."""

    @property
    def total(self) -> float:
        """All."""
        return sum(self)

    def __add__(self, other: object) -> Spent:
        """Elementwise."""
        assert isinstance(other, Spent)
        return Spent(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, number: float) -> Spent:
        """So many alike."""
        return Spent(*(number * part for part in self))


class Passes(NamedTuple):
    """Of one layer, or of all layers of a stage, for one micro-batch."""

    forward: Spent = Spent()
    backward: Spent = Spent()
    """With what is computed again in it."""

    def __add__(self, other: object) -> Passes:
        """Elementwise."""
        assert isinstance(other, Passes)
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def times(self, number: float) -> Passes:
        """So many alike."""
        return Passes(self.forward.times(number), self.backward.times(number))
