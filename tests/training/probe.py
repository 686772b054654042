"""What a training process does in tests besides training: it writes the whole gradients of its first step."""

from __future__ import annotations

from pathlib import Path

import torch

from pretrain.parallel.gradients import whole_gradients
from pretrain.training import run as run_module
from pretrain.training.setup import Session, open_session


def write_first_gradients(directory: Path) -> None:
    """Have the next session of this process write `gradients.pt` into `directory`, on rank 0."""

    def opened(*arguments: object) -> Session:
        session = open_session(*arguments)  # type: ignore[arg-type]
        runner, reduce, done = session.runner, session.runner.reduce, []

        def reduce_and_write() -> None:
            reduce()
            if not done:
                done.append(True)
                gradients = whole_gradients(runner.engine, session.run.model, session.mesh)
                if session.world.is_writer:
                    torch.save(gradients, directory / "gradients.pt")

        runner.reduce = reduce_and_write  # type: ignore[method-assign]
        return session

    run_module.open_session = opened  # type: ignore[assignment]
