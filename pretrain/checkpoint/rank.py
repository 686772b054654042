"""What one rank adds to a checkpoint: taken from the engine, held still, written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pretrain.checkpoint.engine import CollectingEngine
from pretrain.checkpoint.files import FileRecord, record, write_durably
from pretrain.checkpoint.snapshot import HostBuffers, compact, replace_tensors, tensor_bytes
from pretrain.checkpoint.state import TrainState
from pretrain.checkpoint.tensors import save_tensors
from pretrain.parallel.process import World
from pretrain.parallel.watch import host_name

Extra = Callable[[Path], None]


class Need(NamedTuple):
    """What a rank needs to save."""

    host: str
    bytes: int
    """On the disk; for a copy, in the host's memory as well."""
    available: int
    """Bytes of memory that its machine has left."""


@dataclass(frozen=True)
class Share:
    """The files of one rank."""

    root: Path
    tensors: dict[Path, Any]
    state: TrainState
    world: World
    extra: Extra
    buffers: HostBuffers | None = None
    """To be filled first."""

    def need(self) -> Need:
        """What writing it takes."""
        total = sum(tensor_bytes(value) for value in self.tensors.values())
        return Need(host_name(), total, available_memory())

    def still(self, buffers: HostBuffers | None) -> Share:
        """What will hold these values while training goes on, once `write` has copied them to `buffers`.

        Without buffers, only until the next update.
        """
        if buffers:
            buffers.start()
        take = buffers.take if buffers else compact
        held = {path: replace_tensors(value, take) for path, value in self.tensors.items()}
        return replace(self, tensors=held, buffers=buffers)

    def write(self, abandon: threading.Event) -> list[FileRecord]:
        """Write them all and wait for the disk. Raises OSError, or AbandonedError when `abandon` is set."""
        if self.buffers:
            self.buffers.fill()
        written = []
        for path, value in self.tensors.items():
            done = save_tensors(value, path, abandon)
            written.append(FileRecord(str(path.relative_to(self.root)), done.bytes, done.sha256))
        if self.world.is_writer:
            write_durably(self.root / "state.json", self.state.encode())
            self.extra(self.root)
            written += [record(path, self.root) for path in sorted(self.root.rglob("*")) if self._describes(path)]
        return written

    def _describes(self, path: Path) -> bool:
        """Whether a file describes the whole; the others belong to ranks, which write them at the same time."""
        first = path.relative_to(self.root).parts[0]
        return path.is_file() and first != "engine" and not first.startswith("rng-")


def collect(engine: Any, root: Path, state: TrainState, world: World, extra: Extra) -> Share:
    """What DeepSpeed saves on this rank, and the state of torch's generators. All ranks call it together.

    The tensors are the engine's own: they hold what they do now until the next update.
    """
    files: CollectingEngine = engine.checkpoint_engine
    engine.save_checkpoint(str(root), tag="engine", save_latest=False)
    return Share(root, {**files.take(), root / f"rng-{world.rank:05d}.pt": random_state()}, state, world, extra)


def random_state() -> dict[str, torch.Tensor]:
    """The states of torch's generators on this rank (dropout draws from them)."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def available_memory() -> int:
    """Bytes of memory that this machine could still give."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
