"""All layouts that a run may have on a number of GPUs, as far as arithmetic can tell without building each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Literal, NamedTuple

from pretrain.config.constraints.rule import Case, divisors
from pretrain.config.constraints.tensor import tensor_fits
from pretrain.config.errors import ConfigError
from pretrain.config.run import Run
from pretrain.config.stages import stage_count

MICRO_BATCHES = (1, 2, 4, 8, 16, 32, 64)
"""Samples of a micro-batch that are tried where it is free."""
Offload = Literal["none", "optimizer"]


class Space(NamedTuple):
    """What is searched."""

    run: Run
    """Fields that its `parallel` section gives are kept."""
    processes: int
    node_size: int
    """GPUs of a node that is full."""
    free_micro_batch: bool = False
    """Whether micro_batch_size is searched too; else it is the run's."""

    @property
    def together(self) -> int:
        """GPUs on one node."""
        return min(self.node_size, self.processes)

    @property
    def samples(self) -> int:
        """Of the full batch. Raises ConfigError when it is not whole."""
        try:
            return self.run.batch.global_batch_size.samples(self.run.sequence_length)
        except ValueError as error:
            value = self.run.batch.global_batch_size.model_dump()
            raise ConfigError.of("batch.global_batch_size", value, str(error), "write one of the nearest") from None


def candidates(space: Space, offload: Offload = "none") -> Iterator[Run]:
    """Layouts of `space`, simple ones first. The constraint table still has to be asked."""
    given = {name: (getattr(space.run.parallel, name),) for name in space.run.parallel.model_fields_set}
    fixed = {name: given.get(name) for name in CHOICES}
    for tensor, pipe in _grids(space, given):
        choices = [fixed[name] or _choices(name, tensor, pipe, space, offload) for name in CHOICES]
        for micro, values in product(_micro_batches(space, pipe * tensor), list(product(*choices))):
            update = {"auto": False, "tensor": tensor, "pipe": pipe, **dict(zip(CHOICES, values, strict=True))}
            parallel = space.run.parallel.model_copy(update=update)
            if stage_count(parallel) <= space.run.model.layers:
                batch = space.run.batch.model_copy(update={"micro_batch_size": micro})
                yield space.run.model_copy(update={"parallel": parallel, "batch": batch})


CHOICES = ("schedule", "zero", "sequence_parallel", "recompute", "offload")
"""Fields of `parallel` beside the grid."""


def _grids(space: Space, given: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[int, int]]:
    """Tensor and pipe: inside a node, and what divides the processes."""
    case = Case(space.run, space.processes, space.together)
    fitting = [n for n in divisors(space.together) if space.processes % n == 0 and tensor_fits(case, n)]
    for tensor in given.get("tensor", fitting):
        pipes = [n for n in divisors(max(1, space.processes // tensor)) if n <= space.run.model.layers]
        yield from ((tensor, pipe) for pipe in given.get("pipe", pipes))


def _choices(name: str, tensor: int, pipe: int, space: Space, offload: Offload) -> tuple[object, ...]:
    """Of a field that is not given."""
    run = space.run
    if name == "schedule":
        return ("1f1b", "dualpipev") if pipe > 1 else ("1f1b",)
    if name == "zero":
        return (1,) if pipe > 1 or tensor == space.processes else (1, 2, 3)
    if name == "sequence_parallel":
        return (None, False) if tensor > 1 and not run.model.dropout else (None,)
    if name == "recompute":
        selective = ("selective",) if run.model.attention == "plain" else ()  # a fused kernel keeps no scores
        return ("full",) if run.parallel.recompute_every > 1 else ("none", *selective, "full")
    return (offload,)


def _micro_batches(space: Space, copies: int) -> list[int]:
    """Sizes that cut the batch into whole micro-batches on `processes / copies` data ranks."""
    if not space.free_micro_batch:
        return [space.run.batch.micro_batch_size]
    samples, data = space.samples, max(1, space.processes // copies)
    return [size for size in MICRO_BATCHES if samples % (size * data) == 0] or [1]
