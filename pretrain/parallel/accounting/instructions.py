"""The order in which the ranks of a pipeline compute: as DeepSpeed schedules it, and as an engine executed it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pretrain.parallel.mesh import Mesh
from pretrain.planning.pipeline.idle import Instruction, Work

MOVES = {"RecvActivation": ("F", -1), "RecvGrad": ("B", 1)}
"""By instruction: what its sender computed, and how many stages away."""
COMPUTES = {"ForwardPass": "F", "BackwardPass": "B"}


class Recorder:
    """Instructions of one rank, from DeepSpeed's own.

    The n-th pass of a stage is that of micro-batch n. A rank waits for everything that it has asked to receive before
    it computes the next thing, whether that is already needed or not: `after` says so.
    """

    def __init__(self, pipe: int, place: int) -> None:
        """For the rank at `place` of the pipe axis of size `pipe`."""
        self.instructions: list[Instruction] = []
        self._pipe, self._place = pipe, place
        self._seen: Counter[tuple[str, int]] = Counter()
        self._awaited: list[Work] = []

    def note(self, name: str, phase: int) -> None:
        """DeepSpeed's instruction `name` in `phase` (1 on DualPipeV's way back)."""
        stage = self._place if phase == 0 else 2 * self._pipe - 1 - self._place
        if name in MOVES:
            kind, distance = MOVES[name]
            self._awaited.append(Work(kind, self._next(name, stage), stage + distance))
        elif name in COMPUTES:
            kind = COMPUTES[name]
            self.instructions.append(Instruction(Work(kind, self._next(kind, stage), stage), tuple(self._awaited)))
            self._awaited.clear()

    def _next(self, what: str, stage: int) -> int:
        self._seen[what, stage] += 1
        return self._seen[what, stage] - 1


def scheduled(schedule: str, pipe: int, micro_batches: int) -> list[list[Instruction]]:
    """By rank: what DeepSpeed's schedule for `1f1b` or `dualpipev` lets it compute. Without processes."""
    from deepspeed.runtime.pipe.schedule import DualPipeVSchedule, TrainSchedule

    orders = []
    for place in range(pipe):
        recorder = Recorder(pipe, place)
        for step in (DualPipeVSchedule if schedule == "dualpipev" else TrainSchedule)(micro_batches, pipe, place):
            for instruction in step:
                recorder.note(instruction.name, instruction.kwargs.get("phase", 0))
        orders.append(recorder.instructions)
    return orders


@contextmanager
def record_instructions(engine: Any, mesh: Mesh) -> Iterator[Recorder]:
    """Note what a pipeline engine executes inside."""
    recorder = Recorder(mesh.layout.pipe, mesh.at.pipe)
    engine._INSTRUCTION_MAP = {
        kind: _noting(recorder, kind.__name__, execute) for kind, execute in engine._INSTRUCTION_MAP.items()
    }
    try:
        yield recorder
    finally:
        del engine._INSTRUCTION_MAP  # the class's own shows again


def _noting(recorder: Recorder, name: str, execute: Callable[..., None]) -> Callable[..., None]:
    def noted(engine: Any, *arguments: Any, **named: Any) -> None:
        recorder.note(name, named.get("phase", 0))
        execute(engine, *arguments, **named)

    return noted
