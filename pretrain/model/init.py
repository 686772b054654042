"""Initial weights as a function of (seed, parameter name, index) and of nothing else.

A rank can draw its own rows or columns alone; the values do not depend on device, layout or order of construction.
Philox4x64 (Salmon et al. 2011) is keyed with the name; element i is made of the i-th 64-bit draw: its two halves
become two uniforms, and Box-Muller in fp64 one normal, rounded to fp32.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pretrain.config.model import Model

DRAWS_PER_COUNTER = 4
CHUNK = 2**16
"""Elements made at once: the fp64 intermediates stay in the processor's cache."""


def normal(
    seed: int,
    name: str,
    shape: tuple[int, ...],
    std: float,
    rows: slice | None = None,
    columns: slice | None = None,
) -> Tensor:
    """The part [rows, columns] of the fp32 normals that (seed, name) gives to a parameter of this full shape.

    `rows` cuts the first dimension, `columns` the second of two; only what is asked for is drawn.
    """
    stride = math.prod(shape[1:])
    first_row, last_row, _ = (rows or slice(None)).indices(shape[0])
    key = _key(seed, name)
    if columns is None:
        out = np.empty((last_row - first_row, *shape[1:]), dtype=np.float32)
        _fill(out.reshape(-1), key, first_row * stride, std)
    else:
        first, last, _ = columns.indices(shape[1])
        out = np.empty((last_row - first_row, last - first), dtype=np.float32)
        for row, line in enumerate(out, start=first_row):
            _fill(line, key, row * stride + first, std)
    return torch.from_numpy(out)


def _key(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:16], "little")


def _fill(out: NDArray[np.float32], key: int, start: int, std: float) -> None:
    """Write elements start .. start + len(out) of the stream."""
    counter, skip = divmod(start, DRAWS_PER_COUNTER)
    source = np.random.Philox(key=key, counter=counter)
    source.random_raw(skip)
    for begin in range(0, len(out), CHUNK):
        part = out[begin : begin + CHUNK]
        part[:] = _box_muller(source.random_raw(len(part))) * std


def _box_muller(draws: NDArray[np.uint64]) -> NDArray[np.float64]:
    """One standard normal per 64-bit draw; at most 6.66 = sqrt(2 x 32 ln 2)."""
    radius = ((draws >> np.uint64(32)) + np.float64(1)) * 2.0**-32  # (0, 1]: its logarithm is finite
    angle = (draws & np.uint64(2**32 - 1)) * (2 * np.pi * 2.0**-32)
    normals: NDArray[np.float64] = np.sqrt(-2 * np.log(radius)) * np.cos(angle)
    return normals


def initial(
    config: Model,
    seed: int,
    name: str,
    shape: tuple[int, ...],
    rows: slice | None = None,
    columns: slice | None = None,
) -> Tensor:
    """Initial fp32 value, or its part [rows, columns], of the parameter with this canonical name and full shape.

    Matrices are normal with init_std, those that write into the residual stream with init_std / sqrt(2 x layers)
    (Radford et al. 2019, section 2.3); biases 0, norms 1. With muP, matrices of blocks / sqrt(m) (Yang et al. 2022).
    """
    if len(shape) == 1:
        return torch.full(shape, 0.0 if name.endswith("bias") else 1.0)[rows or slice(None)]
    if name == "head.weight" and config.tied_embeddings:
        name = "embedding.tokens.weight"  # a pipeline's last stage has a copy of its own
    into_residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
    std = config.init_std / math.sqrt(2 * config.layers) if into_residual else config.init_std
    if name.startswith("blocks."):
        std /= math.sqrt(config.width_ratio)
    return normal(seed, name, shape, std, rows, columns)


def initialize(
    module: nn.Module, config: Model, seed: int, prefix: str = "", device: torch.device | str = "cpu"
) -> None:
    """Fill all parameters of a Transformer, or of one layer with its `prefix` ("blocks.3."), in place.

    A module built on the meta device is first given memory on `device`.
    """
    materialize(module, device)
    with torch.no_grad():
        for name, parameter in module.named_parameters(prefix=prefix.rstrip(".")):
            parameter.copy_(initial(config, seed, name, tuple(parameter.shape)))


Made = dict[nn.Parameter, nn.Parameter]
"""What became of each parameter of the meta device."""


def materialize(module: nn.Module, device: torch.device | str, made: Made | None = None) -> None:
    """Give memory to parameters that are on the meta device, in place; tied ones stay tied.

    With `made` handed from call to call, they stay tied across modules too.
    """
    made = {} if made is None else made
    for owner in module.modules():
        for name, parameter in list(owner.named_parameters(recurse=False)):
            if parameter.is_meta:
                if parameter not in made:
                    made[parameter] = nn.Parameter(torch.empty_like(parameter, device=device))
                setattr(owner, name, made[parameter])
