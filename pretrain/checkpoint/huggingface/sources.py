"""Where weights to export, or to start from, are read: a checkpoint of any layout, or an imported directory."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.checkpoint.files import damage
from pretrain.checkpoint.huggingface.imported import RECORD, read_model, read_record
from pretrain.checkpoint.huggingface.tensors import Reader
from pretrain.checkpoint.huggingface.weights import VOCABULARY, Weights, shapes_of
from pretrain.checkpoint.state import TrainState, read_state
from pretrain.checkpoint.verify import open_saved, read
from pretrain.checkpoint.weights import find_checkpoint
from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run
from pretrain.config.model import Model
from pretrain.model.mup import folded, without_mup
from pretrain.parallel.cuts import Cut, cut_of


def open_weights(path: Path) -> Weights:
    """Of a checkpoint, of a run's newest one, or imported. Raises ConfigError when it is none or damaged."""
    if (path / RECORD).is_file():
        return Imported(path)
    return Checkpoint(find_checkpoint(path))


class Checkpoint:
    """Weights of a checkpoint, fp32 master weights whatever layout wrote them."""

    def __init__(self, directory: Path) -> None:
        if wrong := damage(directory):
            raise ConfigError.of("checkpoint", str(directory), f"is damaged: {wrong}", "use an earlier one")
        self.directory, self.tokenizer = directory, directory / "tokenizer"
        self.model = load_run(directory / "run.yaml").model
        self._saved = open_saved(directory)

    @cached_property
    def state(self) -> TrainState:
        """Where the run stood."""
        return read_state(self.directory)

    def whole(self, name: str) -> Tensor:
        """One parameter without padding rows."""
        value = read(self._saved, name, "weight").detach()
        return value[: self.model.vocabulary] if name in VOCABULARY else value

    def about(self) -> dict[str, Any]:
        """Checkpoint, run and step."""
        state = self.state
        about = {"checkpoint": str(self.directory), "run_id": state.run_id, "step": state.step, "tokens": state.tokens}
        return about | {"manifest_fingerprint": state.manifest_fingerprint}


class Folded:
    """Weights of a model trained with muP, as those of the same model without it."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.model, self.tokenizer = without_mup(weights.model), weights.tokenizer

    def whole(self, name: str) -> Tensor:
        """One parameter, with its share of the multipliers."""
        return folded(self._weights.model, name, self._weights.whole(name))

    def about(self) -> dict[str, Any]:
        """Where they come from, and what was moved into them."""
        mup = self._weights.model.mup
        return self._weights.about() | {"folded_mup": mup and mup.plain()}


class Imported:
    """Weights of an imported directory, whole or the part of a tensor rank. `model`: of the run that starts from it."""

    def __init__(self, directory: Path, model: Model | None = None) -> None:
        self.directory, self.tokenizer = directory, directory / "tokenizer"
        self.model = model or read_model(directory)
        self._reader, self._shapes = Reader(directory), shapes_of(self.model)
        stored = {name: self._reader.shape(name) for name in self._reader.names}
        if stored != self._shapes:
            rule = "its tensors are not those of its model.yaml"
            raise ConfigError.of("train.initial_weights", str(directory), rule, "import it again")

    def whole(self, name: str) -> Tensor:
        """One parameter without padding rows."""
        return self._reader.tensor(name)

    def part(self, name: str, rank: int, size: int) -> Tensor:
        """What tensor rank `rank` of `size` holds of a parameter; padding rows are zero. Reads nothing else."""
        if name == "head.weight" and self.model.tied_embeddings:
            name = "embedding.tokens.weight"
        shape = self._shapes[name]
        if name in VOCABULARY:
            shape = self.model.padded_vocabulary, *shape[1:]
        cut = cut_of(self.model, name, shape, rank, size) or Cut(0, (slice(0, shape[0]),))
        return torch.cat([self._read(name, cut, part) for part in cut.parts], dim=cut.dim)

    def about(self) -> dict[str, Any]:
        """The directory, and what it was imported from."""
        return {"imported": str(self.directory), "architecture_imported": read_record(self.directory).architecture}

    def _read(self, name: str, cut: Cut, part: slice) -> Tensor:
        stored = self._shapes[name][cut.dim]
        first, last = min(part.start, stored), min(part.stop, stored)
        lines = self._reader.slice(name)
        value: Tensor = lines[cut.at(slice(first, last))] if last > first else torch.empty(0, *self._shapes[name][1:])
        missing = (part.stop - part.start) - (last - first)  # padding rows: only ever of the first dim
        return F.pad(value, (0, 0, 0, missing)) if missing else value
