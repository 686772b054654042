"""What a rule is, what it looks at, and the arithmetic with which a rule finds the nearest valid setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import isqrt

from pretrain.config.errors import Problem
from pretrain.config.layout import Layout, layout_of
from pretrain.config.run import Run

Violations = Iterator[Problem]


@dataclass(frozen=True)
class Case:
    """What the rules look at together. `node_size` is the processes of one node, None where nobody said."""

    run: Run
    processes: int
    node_size: int | None = None

    @property
    def fits(self) -> bool:
        """Whether tensor x pipe divides the processes. Rules about the data axis wait until it does."""
        return self.processes % (self.run.parallel.tensor * self.run.parallel.pipe) == 0

    @property
    def layout(self) -> Layout:
        """The grid; its data axis is rounded down where `fits` is False."""
        return layout_of(self.run.parallel, self.processes)

    def free(self, axis: int) -> int:
        """Processes left for the other axes when one of them has size `axis`; all where it does not divide them."""
        return self.processes // axis if self.processes % axis == 0 else self.processes


@dataclass(frozen=True)
class Constraint:
    """One row of the table. `violations(case)` yields what is wrong, or nothing."""

    name: str
    condition: str
    reason: str
    violations: Callable[[Case], Violations]


def divisors(number: int) -> list[int]:
    """All divisors, ascending."""
    low = [n for n in range(1, isqrt(number) + 1) if number % n == 0]
    return sorted({*low, *(number // n for n in low)})


def closest(value: int, valid: Iterable[int]) -> int:
    """The valid number nearest to `value`, of two the smaller one."""
    return min(valid, key=lambda number: (abs(number - value), number))


def around(value: int, valid: Iterable[int]) -> list[int]:
    """The nearest valid numbers below and above `value`, where there are any."""
    numbers = sorted(valid)
    below, above = [n for n in numbers if n <= value], [n for n in numbers if n > value]
    return [*below[-1:], *above[:1]]


def multiples(value: int, unit: int) -> str:
    """The nearest positive multiples of `unit`, as text: `24 or 32`."""
    return " or ".join(str(n) for n in (value // unit * unit, -(-value // unit) * unit) if n)
