"""The part of saving and loading that DeepSpeed calls: its files, written durably and read without running pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import torch
from deepspeed.runtime.checkpoint_engine.checkpoint_engine import CheckpointCommitInfo, CheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address

SAFE = [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]
"""The only classes besides torch's own that DeepSpeed's files may hold: plain data, nothing that runs."""


class DurableCheckpointEngine(CheckpointEngine):  # type: ignore[misc]
    """Keeps the list of files it wrote on this rank, and the first error instead of raising it.

    DeepSpeed waits for all ranks inside save_checkpoint: a rank that raised there would leave the others waiting.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Path] = []
        self.error: OSError | None = None

    def create(self, info: CheckpointCommitInfo) -> None:
        """Start a checkpoint."""
        self.written, self.error = [], None

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a directory; an error is kept."""
        try:
            Path(path).mkdir(parents=True, exist_ok=exist_ok)
        except OSError as error:
            self.error = self.error or error

    def save(self, state_dict: dict[str, Any], path: str) -> None:
        """Write one file; an error such as a full disk is kept."""
        try:
            save_tensors(state_dict, Path(path))
            self.written.append(Path(path))
        except OSError as error:
            self.error = self.error or error

    def load(self, path: str, map_location: Any = None) -> Any:
        """Read one file."""
        return load_tensors(Path(path), map_location)

    def commit(self, info: CheckpointCommitInfo) -> bool:
        """Nothing: the whole directory is committed at once, by rename."""
        return True


def save_tensors(value: object, path: Path) -> None:
    """torch.save. Raises the OSError of a failed write, such as a full disk, which torch itself would hide."""
    with open(path, "wb") as file:
        writer = _Writer(file)
        try:
            torch.save(value, writer)
        except RuntimeError as error:
            raise writer.error or error from error


class _Writer:
    """A file that remembers why a write failed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def load_tensors(path: Path, map_location: Any = "cpu") -> Any:
    """torch.load of tensors and plain data only; anything else in the file is refused, not run."""
    with torch.serialization.safe_globals(SAFE):
        return torch.load(path, map_location=map_location, weights_only=True)
