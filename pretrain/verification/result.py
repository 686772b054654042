"""What the processes of one layout measured, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """Losses and norms of every rank, which should agree; whole gradients, which the first rank put together."""

    losses: Floats
    """[ranks, steps] nats per target token of the global batch."""
    norms: Floats
    """[ranks, steps] of all gradients, before clipping."""
    gradients: dict[str, npt.NDArray[np.float32]]
    """Of the first step, before clipping, by canonical name in the order of the layers."""


def load_result(paths: Sequence[Path]) -> Result:
    """Read what each rank wrote, the first rank's file first. Nothing in them is executed."""
    with np.load(paths[0], allow_pickle=False) as first:
        gradients = {str(name): first[f"gradient {name}"] for name in first["names"]}
    columns: dict[str, list[Floats]] = {"losses": [], "norms": []}
    for path in paths:
        with np.load(path, allow_pickle=False) as rank:
            for name, rows in columns.items():
                rows.append(rank[name])
    return Result(np.stack(columns["losses"]), np.stack(columns["norms"]), gradients)
