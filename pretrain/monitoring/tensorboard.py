"""tensorboard/ in the run directory."""

from __future__ import annotations

from pathlib import Path

from pretrain.monitoring.metrics import Kind, Row


class TensorBoard:
    """Scalars named `train/loss`, `train/loss/<source>`, `validation/...` against steps."""

    def __init__(self, directory: Path, first_step: int) -> None:
        self._directory = directory
        self._open(first_step)

    def write(self, kind: Kind, row: Row) -> None:
        """Add every number of the row; events become text."""
        step = int(row["step"])
        for name, value in row.items():
            if isinstance(value, str):
                self._writer.add_text(f"{kind}/{name}", value, step)
            elif name != "step":
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def flush(self) -> None:
        """Write the event file."""
        self._writer.flush()

    def rewind(self, step: int) -> None:
        """Go on in a new event file that hides the rows after `step`."""
        self._writer.close()
        self._open(step)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()

    def _open(self, step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        # purge_step hides what was written after the checkpoint that this run goes on from
        self._writer = SummaryWriter(str(self._directory), purge_step=step + 1 if step else None)
