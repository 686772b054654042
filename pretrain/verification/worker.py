"""What one process of a verification does: the training steps of its rank, and the gradients of the first one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pretrain.config.model import Model
from pretrain.config.run import Run
from pretrain.model.loss import Losses
from pretrain.parallel.gradients import whole_gradients
from pretrain.parallel.mesh import Mesh, make_mesh
from pretrain.parallel.process import join_world, leave_world
from pretrain.parallel.runner import MicroBatch, Runner
from pretrain.training.schedule import learning_rate
from pretrain.training.setup import open_runner
from pretrain.training.step import StepResult, train_step
from pretrain.verification.batches import SOURCES, synthetic_batches, synthetic_order, targets


def work(run: Run, steps: int, path: Path) -> None:
    """Train `steps` steps as the rank that the environment names, and write what `Result` reads to `path` (.npz)."""
    world = join_world()
    try:
        mesh = make_mesh(world, run.parallel)
        watched = Watched(open_runner(run, mesh), run.model, mesh)
        results = train(run, mesh, watched, steps)
        gradients = watched.gradients if world.is_writer else {}
        np.savez(
            path,
            losses=[result.losses.mean for result in results],
            norms=[result.grad_norm for result in results],
            names=list(gradients),
            **{f"gradient {name}": gradient.numpy() for name, gradient in gradients.items()},  # type: ignore[arg-type]
        )
        world.done()
    finally:
        leave_world()


def train(run: Run, mesh: Mesh, runner: Runner, steps: int) -> list[StepResult]:
    """The steps of a training run, on synthetic batches."""
    order, ranks = synthetic_order(run), mesh.layout.data
    batches = synthetic_batches(run, order, steps, mesh.at.data, ranks)
    results = []
    for step in range(steps):
        micro_batches = order.plan.batch(step)[1] // (run.batch.micro_batch_size * ranks)
        rate = learning_rate(run, order.plan.tokens_before(step + 1))
        wanted = targets(run, order.plan, step)
        results.append(train_step(runner, batches, micro_batches, wanted, len(SOURCES), mesh, rate, []))
    return results


class Watched:
    """A runner that keeps the whole gradients of its first step."""

    def __init__(self, runner: Runner, model: Model, mesh: Mesh) -> None:
        self._runner, self._model, self._mesh = runner, model, mesh
        self.engine: Any = runner.engine
        self.reads, self.reports, self.sensor = runner.reads, runner.reports, runner.sensor
        self.gradients: dict[str, Tensor] = {}

    def accumulate(self, batches: Sequence[MicroBatch], number: int, scale: float) -> list[Losses]:
        return self._runner.accumulate(batches, number, scale)

    def reduce(self) -> None:
        self._runner.reduce()
        if not self.gradients:
            self.gradients = whole_gradients(self.engine, self._model, self._mesh)

    def norm(self) -> float:
        return self._runner.norm()

    def update(self) -> float:
        return self._runner.update()

    def leave_out(self) -> None:
        self._runner.leave_out()

    def scale_loss(self, scale: float) -> None:
        self._runner.scale_loss(scale)

    def evaluate(self, batches: Sequence[MicroBatch], number: int) -> list[Tensor]:
        return self._runner.evaluate(batches, number)
