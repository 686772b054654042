"""A run that starts from imported weights: each rank reads its own slices of them, and the optimizer is fresh."""

from __future__ import annotations

from pathlib import Path

from pretrain.checkpoint.huggingface.imported import read_record
from pretrain.checkpoint.huggingface.sources import Imported
from pretrain.checkpoint.reshard import begin
from pretrain.training.setup import Session


def begin_from_weights(session: Session) -> list[str]:
    """Put the run's initial weights, if it names any, into an engine at step 0. Returns what to tell.

    All ranks call it together. Raises ConfigError.
    """
    if session.run.train.initial_weights is None:
        return []
    directory = Path(session.run.train.initial_weights)
    record = read_record(directory)
    begin(session.engine, Imported(directory, session.run.model).part, session.mesh)
    return [f"starting from {record.architecture} in {directory}, weights {record.fingerprint}"]
