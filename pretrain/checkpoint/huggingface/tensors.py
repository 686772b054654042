"""Safetensors files written and read one tensor at a time.

The format (huggingface.co/docs/safetensors): the length of a JSON header as little-endian uint64, the header with name,
type, shape and place of each tensor, then the numbers. All places are known from the shapes, so tensors can be written
in any order and none is held. A directory has one file, or several and an index, named as transformers does.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

from pretrain.config.errors import ConfigError

TYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"

Shape = tuple[int, ...]


class Writer:
    """Tensors of known shapes into files of at most `shard_bytes` each; a larger tensor has a file of its own."""

    def __init__(self, directory: Path, shapes: Mapping[str, Shape], dtype: torch.dtype, shard_bytes: int) -> None:
        self._dtype, self._missing = dtype, set(shapes)
        self._places: dict[str, tuple[BinaryIO, int]] = {}
        self._files: list[BinaryIO] = []
        self.bytes = sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize
        """Of all numbers."""
        shards = _shards({name: math.prod(shape) * dtype.itemsize for name, shape in shapes.items()}, shard_bytes)
        files = {shard_name(number, len(shards)): names for number, names in enumerate(shards)}
        for file, names in files.items():
            self._open(directory / file, {name: shapes[name] for name in sorted(names)})
        if len(files) > 1:
            weight_map = {name: file for file, names in files.items() for name in names}
            index = {"metadata": {"total_size": self.bytes}, "weight_map": dict(sorted(weight_map.items()))}
            (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n")

    def put(self, name: str, value: Tensor) -> None:
        """Write one tensor, rounded to the type of the files. Raises OverflowError when that cannot hold it."""
        rounded = value.to(self._dtype).contiguous()
        if rounded.dtype != value.dtype and rounded.isinf().any() and not value.isinf().any():
            raise OverflowError(f"{name} has numbers up to {value.abs().max().item():.3g}")
        file, place = self._places[name]
        file.seek(place)
        file.write(rounded.view(-1).view(torch.uint8).numpy().data)
        self._missing.remove(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files:
            if kind is None:
                file.flush()
                os.fsync(file.fileno())
            file.close()
        if kind is None and self._missing:
            raise ValueError(f"never written: {', '.join(sorted(self._missing))}")

    def _open(self, path: Path, shapes: Mapping[str, Shape]) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        places, place = {}, 0
        for name, shape in shapes.items():
            end = place + math.prod(shape) * self._dtype.itemsize
            header[name] = {"dtype": TYPES[self._dtype], "shape": shape, "data_offsets": (place, end)}
            places[name], place = place, end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file = open(path, "wb")  # closed by __exit__
        self._files.append(file)
        file.write(len(text).to_bytes(8, "little") + text)
        self._places |= {name: (file, 8 + len(text) + place) for name, place in places.items()}


class Reader:
    """The tensors in the safetensors files of a directory, read when they are asked for. Raises ConfigError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, Any] = {}
        for file in _files(directory):
            opened = self._open(directory / file)
            self._files |= dict.fromkeys(opened.keys(), opened)

    @property
    def names(self) -> list[str]:
        """All of them."""
        return list(self._files)

    def slice(self, name: str) -> Any:
        """A tensor that can be indexed without being read whole: safetensors' PySafeSlice."""
        return self._files[name].get_slice(name)

    def shape(self, name: str) -> Shape:
        """Its shape."""
        return tuple(self.slice(name).get_shape())

    def tensor(self, name: str) -> Tensor:
        """All of it, fp32."""
        if (kind := self.slice(name).get_dtype()) not in TYPES.values():
            rule = f"is of type {kind}, must be one of {', '.join(TYPES.values())}"
            raise ConfigError.of(f"tensor {name}", str(self._directory), rule, "convert it, unquantized, first")
        value: Tensor = self._files[name].get_tensor(name)
        return value.float()

    def _open(self, path: Path) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            return safe_open(path, "pt")
        except (OSError, SafetensorError) as error:
            raise ConfigError.of("weights", str(path), f"cannot be read: {error}", "restore the file") from None


def _files(directory: Path) -> list[str]:
    if not (directory / INDEX).is_file():
        return [WHOLE]
    try:
        return sorted(set(json.loads((directory / INDEX).read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError.of("weights", str(directory / INDEX), f"is no index: {error!r}", "restore it") from None


def _shards(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Names in their order, cut wherever a file would become larger than `most` bytes."""
    shards: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if shards[-1] and held + size > most:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    return shards


def shard_name(number: int, shards: int) -> str:
    """As transformers calls the number-th (from 0) of so many files."""
    return WHOLE if shards == 1 else f"model-{number + 1:05d}-of-{shards:05d}.safetensors"


def elements(shapes: Sequence[Shape]) -> int:
    """Numbers in tensors of these shapes."""
    return sum(math.prod(shape) for shape in shapes)
