"""What an algorithm keeps of a parameter between two updates, by the parameter's canonical name. No torch.

Whoever makes an optimizer, saves its state, reads it under another layout or counts its bytes asks here.
"""

from __future__ import annotations

from typing import Literal

Group = Literal["orthogonal", "hidden", "matrix", "vector"]
GROUPS: tuple[Group, ...] = ("orthogonal", "hidden", "matrix", "vector")
"""In the order in which an optimizer has them: matrices whose update Muon makes orthogonal, matrices of blocks whose
learning rate muP divides, others, and what has one dim and does not decay."""

Shape = tuple[int, ...]


def group_of(algorithm: str, name: str, dims: int, mup: bool = False) -> Group:
    """The group of a parameter with so many dims.

    Embeddings and head are no maps between features that grow with the width: neither Muon nor muP treats them so.
    What an own MLP has of three dims is not for Muon.
    """
    if dims < 2:
        return "vector"
    if not name.startswith("blocks."):
        return "matrix"
    if algorithm == "muon" and dims == 2:
        return "orthogonal"
    return "hidden" if mup else "matrix"


def moments_of(algorithm: str, group: Group, shape: Shape) -> dict[str, Shape]:
    """The moments of a parameter of this shape, by their names in the optimizer's state, and their shapes."""
    if group == "orthogonal":
        return {"momentum_buffer": shape}
    if algorithm.endswith(")"):  # an own one (Optimizer.algorithm)
        names = algorithm.partition("(")[2].removesuffix(")")
        return {name: shape for name in names.split(", ") if name}
    if algorithm != "adafactor":
        return {"exp_avg": shape, "exp_avg_sq": shape}
    if group == "vector":
        return {"variance": shape}
    return {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}
