"""How the micro-batches of a step go through the model: one after the other, or through a pipeline.

Both give the losses where they were computed, and leave the update to later calls: in between, the ranks
look at the loss and at the gradient norm, and agree on whether there is to be one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.model.loss import Losses
from pretrain.parallel.engine import summed_gradient
from pretrain.parallel.mesh import Mesh
from pretrain.parallel.sensor import Sensor
from pretrain.parallel.update import make_update

MicroBatch = tuple[Tensor, Tensor, Tensor | None]
"""Inputs [B, T], targets [B, T] with -100 where none, document [B, T] or None."""


class Runner(Protocol):
    """What training needs of a model, whatever its layout."""

    engine: Any
    """DeepSpeed's."""
    reads: bool
    """Whether this rank needs the micro-batches; others are given none."""
    reports: bool
    """Whether the losses of this rank count: the others have none, or another rank's once more."""
    sensor: Sensor
    """Knows whether this rank's own gradients were numbers."""

    def accumulate(self, batches: Sequence[MicroBatch], number: int, scale: float) -> list[Losses]:
        """Gradients of scale x the sum of `number` micro-batches' losses; these losses, where computed."""

    def reduce(self) -> None:
        """Finish the sums of gradients over ranks that are still open."""

    def norm(self) -> float:
        """The global gradient norm before clipping, after `reduce`; NaN for every norm that is no number."""

    def update(self) -> float:
        """Clip and update, after `reduce`; the norm before clipping."""

    def leave_out(self) -> None:
        """Throw the gradients away after `reduce`: weights and moments stay as they are."""

    def scale_loss(self, scale: float) -> None:
        """From now on multiply gradients with `scale` until the update, which divides them again; fp16 only."""

    def evaluate(self, batches: Sequence[MicroBatch], number: int) -> list[Tensor]:
        """The losses per token of `number` micro-batches, where computed, without gradients."""


def make_runner(engine: Any, mesh: Mesh) -> Runner:
    """The runner of an engine on a mesh."""
    return Whole(engine, mesh) if mesh.layout.pipe == 1 else Pipeline(engine, mesh)


class _Engine:
    """What both have in common."""

    def __init__(self, engine: Any, mesh: Mesh, step: Callable[[], object]) -> None:
        self.engine, self.mesh = engine, mesh
        self.sensor = Sensor(engine.module.parameters(), mesh.world.device)
        update = make_update(engine, mesh, step)
        self.norm, self.update, self.leave_out = update.norm, update.apply, update.leave_out
        self.scale_loss = update.scale_loss


class Whole(_Engine):
    """All layers on each rank (of a tensor group, together)."""

    def __init__(self, engine: Any, mesh: Mesh) -> None:
        super().__init__(engine, mesh, engine.step)
        self.reads, self.reports = True, mesh.is_first_of_tensor

    def accumulate(self, batches: Sequence[MicroBatch], number: int, scale: float) -> list[Losses]:
        passed = []
        for index, batch in enumerate(batches):
            self.engine.set_gradient_accumulation_boundary(index == number - 1)
            losses = self.engine(*batch)
            # DeepSpeed averages gradients over data ranks; what is wanted is their sum
            self.engine.backward(losses.total * (scale * self.mesh.layout.data), scale_wrt_gas=False)
            passed.append(losses._replace(total=losses.total.detach()))
        return passed

    def reduce(self) -> None:
        pass  # DeepSpeed reduced in the last backward pass

    def evaluate(self, batches: Sequence[MicroBatch], number: int) -> list[Tensor]:
        self.engine.eval()
        with torch.no_grad():
            per_token = [self.engine.module(*batch).per_token for batch in batches]
        self.engine.train()
        return per_token


class Pipeline(_Engine):
    """Stages on each rank; DeepSpeed's schedule decides what each does when."""

    def __init__(self, engine: Any, mesh: Mesh) -> None:
        from deepspeed.runtime.pipe.schedule import OptimizerStep, ReduceGrads, ReduceTiedGrads

        super().__init__(engine, mesh, lambda: engine._INSTRUCTION_MAP[OptimizerStep](engine))
        self.has_loss = hasattr(engine.module, "head")
        self.reads = self.has_loss or mesh.at.pipe == 0
        self.reports = self.has_loss and mesh.is_first_of_tensor
        self._reduce = ReduceGrads
        self._later = (ReduceTiedGrads, ReduceGrads, OptimizerStep)

    def accumulate(self, batches: Sequence[MicroBatch], number: int, scale: float) -> list[Losses]:
        engine = self.engine
        # DeepSpeed divides by its own number of micro-batches and averages over data ranks
        engine.module.loss_scale = scale * self.mesh.layout.data * engine.gradient_accumulation_steps()
        return self._run(engine._train_schedule, batches, number)

    def reduce(self) -> None:
        # DeepSpeed's own sum of tied gradients looks at .grad, which is None where they are summed elsewhere in fp32
        for weight, group in self.engine.module.get_tied_weights_and_groups():
            dist.all_reduce(summed_gradient(self.engine, weight), group=group)
        self.engine._INSTRUCTION_MAP[self._reduce](self.engine)

    def evaluate(self, batches: Sequence[MicroBatch], number: int) -> list[Tensor]:
        self.engine.module.eval()
        with torch.no_grad():
            passed = self._run(lambda: self.engine._inference_schedule(number), batches, number)
        self.engine.module.train()
        return [losses.per_token for losses in passed]

    def _run(self, schedule: Callable[[], Any], batches: Sequence[MicroBatch], number: int) -> list[Losses]:
        engine = self.engine
        engine.micro_batches = number
        engine.set_dataiterator(iter([(_fed(batch), ()) for batch in batches]))
        engine.module.targets = iter([targets for _, targets, _ in batches])
        engine.total_loss, engine._compute_loss = None, True
        engine.module.passed = passed = list[Losses]()
        engine._exec_schedule(_Without(schedule(), self._later))
        return passed


def _fed(batch: MicroBatch) -> Tensor | tuple[Tensor, Tensor]:
    """What enters the first stage."""
    inputs, _, document = batch
    return inputs if document is None else (inputs, document)


class _Without:
    """A schedule whose last instructions are left for later."""

    def __init__(self, schedule: Any, left_out: tuple[type, ...]) -> None:
        self._schedule, self._left_out = schedule, left_out

    def num_pipe_buffers(self) -> int:
        return int(self._schedule.num_pipe_buffers())

    def __iter__(self) -> Iterator[list[Any]]:
        for step in self._schedule:
            yield [instruction for instruction in step if not isinstance(instruction, self._left_out)]
