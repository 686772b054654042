"""The part of saving and loading that DeepSpeed calls: it hands over its files, and reads without running pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepspeed.runtime.checkpoint_engine.checkpoint_engine import CheckpointCommitInfo, CheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address

from pretrain.checkpoint.tensors import load_tensors

SAFE = (DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address)
"""The only classes besides torch's own that DeepSpeed's files may hold: plain data, nothing that runs."""


class CollectingEngine(CheckpointEngine):  # type: ignore[misc]
    """Keeps what DeepSpeed wants to save on this rank instead of writing it.

    DeepSpeed waits for all ranks inside save_checkpoint: nothing that can fail, such as a disk, is touched in there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[Path, Any] = {}

    def create(self, info: CheckpointCommitInfo) -> None:
        """Start a checkpoint."""
        self._files = {}

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing: who writes the files makes their directory."""

    def preserves_storage_sharing(self) -> bool:
        """No: tensors that are parts of larger ones are written as what they are, so DeepSpeed need not clone them."""
        return False

    def save(self, state_dict: dict[str, Any], path: str) -> None:
        """Take one file. Its tensors are the engine's own and change with the next update."""
        self._files[Path(path)] = state_dict

    def take(self) -> dict[Path, Any]:
        """The files of the checkpoint that DeepSpeed has just saved."""
        files, self._files = self._files, {}
        return files

    def load(self, path: str, map_location: Any = None) -> Any:
        """Read one file. Its tensors stay there until they are copied, which DeepSpeed does with all but moments."""
        return load_tensors(Path(path), SAFE, mapped=True)

    def commit(self, info: CheckpointCommitInfo) -> bool:
        """Nothing: the whole directory is committed at once, by rename."""
        return True
