"""The faults that can be planted in a rank: modules of the training, changed once they are loaded."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.cluster.faults import Fault

Plant = Callable[[Any, Fault, Path], None]


def happens(fault: Fault, site: Path, rank: int, step: int) -> bool:
    """Whether the fault is to happen here and now; remembered before it does."""
    if (rank, step) != (fault.rank, fault.step) or (fault.once and (site / "happened").exists()):
        return False
    if not (site / "happened").exists():
        (site / "happened").write_text(str(time.time()))
    return True


def before_step(act: Callable[[Any], None]) -> Plant:
    """Plants what `act` does with the session before the step begins; the phase is data."""

    def plant(loop: Any, fault: Fault, site: Path) -> None:
        step = loop._step

        def spoilt(session: Any, state: Any, *rest: Any) -> Any:
            if happens(fault, site, session.world.rank, state.step + 1):
                act(session)
            return step(session, state, *rest)

        loop._step = spoilt

    return plant


def hang(*_: Any) -> None:
    """For ever, without using the processor."""
    while True:
        time.sleep(1)


def hang_in_forward(session: Any) -> None:
    session.runner.accumulate = hang


def fail(session: Any) -> None:
    raise RuntimeError("a planted failure")


def hang_in_checkpoint(save: Any, fault: Fault, site: Path) -> None:
    original = save.Saver.save

    def hanging(self: Any, state: Any, *rest: Any, **more: Any) -> Any:
        if happens(fault, site, self._world.rank, state.step):
            hang()
        return original(self, state, *rest, **more)

    save.Saver.save = hanging


def kill_in_writing(rank: Any, fault: Fault, site: Path) -> None:
    """After the rank's first file of that checkpoint."""
    save, temporary = rank.save_tensors, f"step-{fault.step:08d}.tmp"

    def killed(value: Any, path: Path, *rest: Any) -> Any:
        done = save(value, path, *rest)
        if temporary in path.parts and happens(fault, site, int(os.environ["RANK"]), fault.step):
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    rank.save_tensors = killed


def kill_before_the_rename(files: Any, fault: Fault, site: Path) -> None:
    commit, temporary = files.commit, f"step-{fault.step:08d}.tmp"

    def killed(path: Path, *rest: Any) -> Any:
        if path.name == temporary and happens(fault, site, int(os.environ["RANK"]), fault.step):
            os.kill(os.getpid(), signal.SIGKILL)
        return commit(path, *rest)

    files.commit = killed


def kill_after_the_rename(files: Any, fault: Fault, site: Path) -> None:
    """Before `latest` is moved."""
    point, renamed = files.point_latest, f"step-{fault.step:08d}"

    def killed(directory: Path) -> Any:
        if (directory / renamed).exists() and happens(fault, site, int(os.environ["RANK"]), fault.step):
            os.kill(os.getpid(), signal.SIGKILL)
        return point(directory)

    files.point_latest = killed


def poison(run: Any, fault: Fault, site: Path) -> None:
    poison_of(fault)(site)


def poison_of(fault: Fault) -> Callable[[Path], None]:
    """The same for a run that is compared with it. Imports torch."""
    from tests.resilience.poison import poisoned_sample

    sample = (fault.step - 1) * 4 + fault.rank  # batches of 4; rank r of 2 reads r and r + 2
    return poisoned_sample(sample, fault.factor or float("nan"), None if fault.factor else fault.rank)


def unfit(health: Any, fault: Fault, site: Path) -> None:
    measure = health._measure

    def measured(*arguments: Any) -> Any:
        reading = measure(*arguments)
        return replace(reading, disk_free=0) if reading.host == fault.host else reading

    health._measure = measured


PLANTED: dict[str, tuple[str, Plant]] = {
    "hang in data": ("pretrain.training.loop", before_step(hang)),
    "hang in step": ("pretrain.training.loop", before_step(hang_in_forward)),
    "hang in checkpoint": ("pretrain.checkpoint.save", hang_in_checkpoint),
    "fail": ("pretrain.training.loop", before_step(fail)),
    "kill in writing": ("pretrain.checkpoint.rank", kill_in_writing),
    "kill before the rename": ("pretrain.checkpoint.files", kill_before_the_rename),
    "kill after the rename": ("pretrain.checkpoint.files", kill_after_the_rename),
    "poison": ("pretrain.training.run", poison),
    "unfit": ("pretrain.training.health", unfit),
}
"""By kind: the module that is changed, and how."""
