"""What a checkpoint holds, by canonical parameter name and whatever layout wrote it.

DeepSpeed's files hold flat pieces: of a parameter's tensor part, cut once more over the data ranks. Files are mapped
into memory, so asking for one parameter reads that parameter and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from pretrain.checkpoint.state import read_state
from pretrain.checkpoint.tensors import load_tensors
from pretrain.config.model import Model
from pretrain.config.moments import GROUPS, Group, group_of, moments_of
from pretrain.model.transformer import Transformer
from pretrain.parallel.cuts import cut_of

Kind = str
"""`weight`, which is the fp32 master weight, or the name of a moment (config.moments)."""


class Piece(Protocol):
    """What one rank wrote."""

    def fragment(self, name: str, kind: Kind) -> Tensor | None:
        """The flat part of a parameter that this rank had; None where it had none."""


class Saved:
    """The tensors of a checkpoint of `model`."""

    def __init__(self, checkpoint: Path, model: Model) -> None:
        self._folder, self._model = checkpoint / "engine", model
        self._layout = read_state(checkpoint).layout
        self.algorithm: str = self._layout["optimizer"]
        """Of the optimizer."""
        self._opened: dict[tuple[int, int], list[Piece]] = {}
        with torch.device("meta"):
            self.shapes = {name: tuple(p.shape) for name, p in Transformer(model).named_parameters()}

    @property
    def names(self) -> list[str]:
        """Canonical names of all parameters; a tied head is not one."""
        return list(self.shapes)

    def kinds(self, name: str) -> dict[Kind, tuple[int, ...]]:
        """What there is of a parameter, and the shape of each: its weight and its moments."""
        shape = self.shapes[self.canonical(name)]
        return {"weight": shape, **moments_of(self.algorithm, self._group(name), shape)}

    @property
    def moments(self) -> list[Kind]:
        """Names of all moments that any parameter has."""
        kinds = dict.fromkeys(kind for name in self.names for kind in self.kinds(name))
        return [kind for kind in kinds if kind != "weight"]

    def whole(self, name: str, kind: Kind = "weight") -> Tensor:
        """One parameter, fp32. Raises KeyError when the checkpoint has no such parameter."""
        return self.part(name, kind, 0, 1)

    def part(self, name: str, kind: Kind, rank: int, size: int) -> Tensor:
        """What tensor rank `rank` of `size` holds of a parameter, fp32. Raises KeyError.

        Reads that part alone where `size` is what the checkpoint was written with, else the whole parameter.
        """
        name = self.canonical(name)
        shape, tensor = self.kinds(name)[kind], self._layout["tensor"]
        if size == tensor or cut_of(self._model, name, shape, 0, tensor) is None:
            whole = self._local(name, kind, rank if size == tensor else 0)
            cut = None if size == tensor else cut_of(self._model, name, shape, rank, size)
            return whole if cut is None else cut.of(whole)
        whole = torch.empty(shape)
        for other in range(tensor):
            if (cut := cut_of(self._model, name, shape, other, tensor)) is not None:
                cut.put(self._local(name, kind, other), whole)
        cut = cut_of(self._model, name, shape, rank, size)
        return whole if cut is None else cut.of(whole)

    def canonical(self, name: str) -> str:
        """The name under which a parameter is saved."""
        return "embedding.tokens.weight" if name == "head.weight" and self._model.tied_embeddings else name

    def bytes(self) -> int:
        """Size of the files that are read."""
        return sum(file.stat().st_size for file in self._folder.glob("*.pt"))

    def _local(self, name: str, kind: Kind, rank: int) -> Tensor:
        """A tensor rank's part as it was written, joined from its data ranks in whichever stage has it."""
        whole = self.kinds(name)[kind]
        cut = cut_of(self._model, name, whole, rank, self._layout["tensor"])
        shape = whole if cut is None else (*whole[: cut.dim], cut.size, *whole[cut.dim + 1 :])
        for stage in range(self._layout["pipe"]):
            pieces = self._pieces(stage, rank)
            found = [piece for data in pieces if (piece := data.fragment(name, kind)) is not None]
            if found:
                joined = torch.cat(found).detach()  # ZeRO's pieces are parameters
                return joined[: torch.Size(shape).numel()].view(shape)  # ZeRO-3 pads the last
        raise KeyError(f"{self._folder} has no {name}")

    def _pieces(self, stage: int, rank: int) -> list[Piece]:
        """Of each data rank; opened when first asked for."""
        if (stage, rank) not in self._opened:
            first = stage * self._layout["tensor"] + rank
            self._opened[stage, rank] = [self._piece(first, data) for data in range(self._layout["data"])]
        return self._opened[stage, rank]

    def _piece(self, model_rank: int, data: int) -> Piece:
        zero = self._layout["zero"]
        if zero == 0:
            states = self._folder / f"mp_rank_{model_rank:02d}_model_states.pt"
            return Unpartitioned(_mapped(states), self._ordered()) if data == 0 else Nothing()
        prefix = "bf16_" if self._layout["compute"] == "bf16" else ""
        ranks = f"zero_pp_rank_{data}_mp_rank_{model_rank:02d}"
        optimizer = _mapped(self._folder / f"{prefix}{ranks}_optim_states.pt")["optimizer_state_dict"]
        if zero < 3:
            return PartitionedOptimizer(optimizer)
        shapes = _mapped(self._folder / f"{ranks}_model_states.pt")["param_shapes"]
        return PartitionedWeights(optimizer, shapes, self._layout["data"])

    def _ordered(self) -> list[str]:
        """The parameters in the order of the optimizer's groups."""
        return [name for group in GROUPS for name in self.names if self._group(name) == group]

    def _group(self, name: str) -> Group:
        shape = self.shapes[self.canonical(name)]
        return group_of(self.algorithm, name, len(shape), self._model.mup is not None)


class Nothing:
    """A rank that wrote no tensors, or the same as another."""

    def fragment(self, name: str, kind: Kind) -> Tensor | None:
        return None


class Unpartitioned:
    """ZeRO 0: whole tensors, the moments in the order of the optimizer's groups."""

    def __init__(self, states: dict[str, Any], names: list[str]) -> None:
        self._weights = states["module"]
        self._moments = {name: states["optimizer"]["state"][index] for index, name in enumerate(names)}

    def fragment(self, name: str, kind: Kind) -> Tensor | None:
        value: Tensor = self._weights[name] if kind == "weight" else self._moments[name][kind]
        return value.float().flatten()


class PartitionedOptimizer:
    """ZeRO 1 and 2: each group of parameters is one flat tensor, of which each data rank has a range."""

    def __init__(self, optimizer: dict[str, Any]) -> None:
        self._state = optimizer["base_optimizer_state"]["state"]
        self._weights = optimizer["single_partition_of_fp32_groups"]
        self._places = {
            name: (group, address)
            for group, addresses in enumerate(optimizer["param_slice_mappings"])
            for name, address in addresses.items()
        }

    def fragment(self, name: str, kind: Kind) -> Tensor | None:
        if name not in self._places:
            return None
        group, address = self._places[name]
        flat: Tensor = self._weights[group] if kind == "weight" else self._state[group][kind]
        return flat[address.start : address.start + address.numel]


class PartitionedWeights:
    """ZeRO 3: each data rank has an equal piece of every parameter, the last one padded."""

    def __init__(self, optimizer: dict[str, Any], shapes: list[dict[str, torch.Size]], ranks: int) -> None:
        self._weights = optimizer["fp32_flat_groups"]
        self._state = optimizer["optimizer_state_dict"]["state"]
        self._places: dict[str, tuple[int, int, int]] = {}
        for group, names in enumerate(shapes):
            start = 0
            for name, shape in names.items():
                size = -(-shape.numel() // ranks)
                self._places[name] = group, start, size
                start += size

    def fragment(self, name: str, kind: Kind) -> Tensor | None:
        group, start, size = self._places[name]
        flat: Tensor = self._weights[group] if kind == "weight" else self._state[group][kind]
        return flat[start : start + size]


def _mapped(file: Path) -> Any:
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # only DeepSpeed's file format is needed
    from pretrain.checkpoint.engine import SAFE

    return load_tensors(file, SAFE, mapped=True)
