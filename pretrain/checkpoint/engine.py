"""The part of saving and loading that DeepSpeed calls: its files, written durably and read without running pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepspeed.runtime.checkpoint_engine.checkpoint_engine import CheckpointCommitInfo, CheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address

from pretrain.checkpoint.tensors import load_tensors, save_tensors

SAFE = (DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address)
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
        return load_tensors(Path(path), SAFE)

    def commit(self, info: CheckpointCommitInfo) -> bool:
        """Nothing: the whole directory is committed at once, by rename."""
        return True
