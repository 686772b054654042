"""Which piece of each parameter this rank answers for: all ranks' pieces together are every element, once.

Where the optimizer keeps gradients and fp32 weights depends on the ZeRO stage. A piece is the whole parameter, a flat
range of it, or None where another data rank has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor, nn

from pretrain.parallel.mesh import Mesh


def counted_parameters(engine: Any, mesh: Mesh) -> Iterator[tuple[str, nn.Parameter]]:
    """Those of this rank by canonical name, without what another tensor rank or pipeline stage counts."""
    for name, parameter in engine.module.named_parameters():
        if getattr(parameter, "ds_pipe_replicated", False):
            continue  # the last stage's copy of a tied embedding
        if parameter.model_parallel or mesh.at.tensor == 0:
            yield name, parameter


def own_gradient(parameter: Any, mesh: Mesh) -> Tensor | None:
    """The gradient of this rank's piece, summed over ranks; after Runner.reduce and before the update."""
    if hasattr(parameter, "ds_id"):
        return _of_stage3(parameter, parameter._z3_optimizer.get_local_fp32_grad_for_param(parameter), mesh)
    if not hasattr(parameter, "_hp_mapping"):
        return cast(Tensor, parameter.grad) if mesh.at.data == 0 else None
    if (mapping := parameter._hp_mapping) is None:
        return None
    gradient = getattr(parameter, "_hp_grad", None)
    if gradient is None:
        gradient = mapping.get_lp_grad_fragment(parameter._index_in_param_group)
    if gradient.numel() == parameter.numel():  # some optimizers keep the whole, on every data rank
        at = mapping.lp_fragment_address
        gradient = gradient.reshape(-1).narrow(0, at.start, at.numel)
    return cast(Tensor, gradient)


def own_weight(parameter: Any, mesh: Mesh) -> Tensor | None:
    """The fp32 weights of this rank's piece: what the optimizer updates."""
    if hasattr(parameter, "ds_id"):
        return _of_stage3(parameter, parameter._z3_optimizer.get_local_fp32_param(parameter), mesh)
    if not hasattr(parameter, "_hp_mapping"):
        return cast(Tensor, parameter.detach()) if mesh.at.data == 0 else None
    mapping = parameter._hp_mapping
    return None if mapping is None else cast(Tensor, mapping.hp_fragment)


def _of_stage3(parameter: Any, piece: Tensor, mesh: Mesh) -> Tensor:
    """Without the padding that makes all data ranks' pieces equally long."""
    real = parameter.ds_numel - mesh.at.data * piece.numel()
    return piece.reshape(-1)[: max(0, real)]
