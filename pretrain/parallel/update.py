"""The update of a step under DeepSpeed, taken apart: the gradient norm first, then new weights or none.

DeepSpeed computes the norm inside its step, too late to decide anything. Here the very function that its optimizer
would call is called before, and the step is given the answer: the norm is computed once, and is the same to the bit.
To leave the update out, the step is told of a norm that is no number. That is DeepSpeed's own sign to throw the
gradients away and to leave weights and moments untouched, whatever the optimizer keeps its gradients in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.parallel.engine import gradient_norm, loss_scale, replaced
from pretrain.parallel.mesh import Mesh


class Update:
    """What becomes of the summed gradients of one step; one object for all steps of an engine.

    The norm is the same number on every rank. NaN stands for every norm that is none.
    """

    def __init__(self, engine: Any, mesh: Mesh, step: Callable[[], object]) -> None:
        """`step` makes the engine update its weights."""
        self.engine, self.mesh, self._step = engine, mesh, step
        self._norm: tuple[Any, float] | None = None

    def norm(self) -> float:
        """The global norm before clipping, of gradients that are summed over ranks. All ranks call it together."""
        if self._norm is None:
            answer = self._compute()
            self._norm = answer, self._as_number(answer) / loss_scale(self.engine)
        return self._norm[1]

    def scale_loss(self, scale: float) -> None:
        """From now on multiply the loss with `scale`; fp16 only."""
        self.engine.optimizer.loss_scale = scale

    def apply(self) -> float:
        """Clip and update; the norm before clipping."""
        norm = self.norm()
        assert self._norm is not None
        with self._given(self._norm[0]):
            self._step()
        self._norm = None
        return norm

    def leave_out(self) -> None:
        """Throw the gradients away: weights and moments stay as they are. The engine counts a step all the same."""
        with self._refused(), self._scale_kept():
            self._step()
        self._norm = None

    def _scale_kept(self) -> AbstractContextManager[None]:
        """The loss scale does not fall, which is how DeepSpeed answers a norm that is no number, and says."""
        if not hasattr(self.engine.optimizer, "_update_scale"):
            return contextlib.nullcontext()
        return replaced(self.engine.optimizer, "_update_scale", lambda overflow: None)

    # without ZeRO; the other optimizers differ in what is below -------------------------------------------------------

    def _compute(self) -> Any:
        return gradient_norm(self.engine, self.mesh)

    def _as_number(self, answer: Any) -> float:
        norm = float(answer)
        return norm if 0 <= norm < float("inf") else float("nan")

    def _given(self, answer: Any) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def _refused(self) -> AbstractContextManager[None]:
        return replaced(self.engine.optimizer, "step", lambda: None)


class Partitioned(Update):
    """ZeRO 1 and 2."""

    def __init__(self, engine: Any, mesh: Mesh, step: Callable[[], object]) -> None:
        super().__init__(engine, mesh, step)
        groups = len(engine.optimizer.bit16_groups)
        most = max(mesh.world.gather(groups)) if mesh.layout.pipe > 1 else groups
        self._missing = most - groups
        """Groups of parameters that other pipeline stages have and this one has not, as embeddings beside Muon."""

    def _compute(self) -> Any:
        from deepspeed.runtime.zero import stage_1_and_2

        optimizer, combine = self.engine.optimizer, stage_1_and_2.combine_grad_norm_groups
        if optimizer.cpu_offload:
            optimizer._wait_for_offload_copies()
        # It sums each group's norm over the stages, which would wait for one that has fewer groups.
        with replaced(stage_1_and_2, "combine_grad_norm_groups", lambda norms, **_: norms):
            norms = optimizer.scaled_global_norm()
        return combine([*norms, *(self._others() for _ in range(self._missing))])

    def _others(self) -> Tensor:
        """The norm of a group that is empty here."""
        squares = torch.zeros((), device=self.mesh.world.device)
        self.engine.optimizer._model_parallel_all_reduce(squares, dist.ReduceOp.SUM)
        return squares.sqrt()

    def _given(self, answer: Any) -> AbstractContextManager[None]:
        return replaced(self.engine.optimizer, "scaled_global_norm", lambda: answer)

    @contextlib.contextmanager
    def _refused(self) -> Iterator[None]:
        optimizer = self.engine.optimizer

        def overflows(partition_gradients: bool = True) -> None:
            optimizer.overflow = True

        # in bf16 it does not look at the norm
        with replaced(optimizer, "check_grad_overflow", True), replaced(optimizer, "check_overflow", overflows):
            yield
        if optimizer.cpu_offload:  # these it forgets, and the next step would add to them
            optimizer.averaged_gradients.update(dict.fromkeys(optimizer.averaged_gradients))


class PartitionedWeights(Update):
    """ZeRO 3."""

    def _compute(self) -> Any:
        return self.engine.optimizer._get_norm_groups()

    def _as_number(self, answer: Any) -> float:
        from deepspeed.runtime.utils import combine_grad_norm_groups

        return super()._as_number(combine_grad_norm_groups(answer))

    def _given(self, answer: Any) -> AbstractContextManager[None]:
        return replaced(self.engine.optimizer, "_get_norm_groups", lambda: answer)

    def _refused(self) -> AbstractContextManager[None]:
        return self._given([torch.tensor(-1.0, device=self.mesh.world.device)])


class SummedInFp32(Update):
    """ZeRO 1 in bf16, with and without a pipeline."""

    def _compute(self) -> Any:
        from deepspeed.runtime.utils import get_global_norm_of_tensors

        optimizer = self.engine.optimizer
        gradients, _ = optimizer.get_grads_for_norm()
        return get_global_norm_of_tensors(gradients, norm_type=optimizer.norm_type, mpu=optimizer.mpu)

    def _given(self, answer: Any) -> AbstractContextManager[None]:
        from deepspeed.runtime import bf16_optimizer

        def given(**_: Any) -> Tensor:
            return answer  # type: ignore[no-any-return]

        return replaced(bf16_optimizer, "get_global_norm_of_tensors", given)

    def _refused(self) -> AbstractContextManager[None]:
        return self._given(torch.tensor(-1.0, device=self.mesh.world.device))


def make_update(engine: Any, mesh: Mesh, step: Callable[[], object]) -> Update:
    """The update of an engine; `step` makes it."""
    from deepspeed.runtime.bf16_optimizer import BF16_Optimizer

    kinds: dict[int, type[Update]] = {0: Update, 1: Partitioned, 2: Partitioned, 3: PartitionedWeights}
    if isinstance(engine.optimizer, BF16_Optimizer):
        return SummedInFp32(engine, mesh, step)
    return kinds[engine.zero_optimization_stage()](engine, mesh, step)
