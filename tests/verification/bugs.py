"""Bugs to plant in the processes of a verification, each as one would be made. Called in every process, first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pretrain.model.loss import Losses
from pretrain.parallel.runner import MicroBatch


def forget_the_sum_of_partial_results() -> None:
    """A row-parallel layer, or the cut embedding, goes on with its own rank's part of the sum."""
    from pretrain.parallel.region import Region

    def leave(region: Region, partial: Tensor) -> Tensor:
        return partial.chunk(region.axis.size, dim=1)[region.axis.rank] if region.split else partial

    Region.leave = leave  # type: ignore[method-assign]


def cut_qkv_as_one_matrix() -> None:
    """Queries, keys and values are cut together, as if the fused weight were any matrix."""
    from pretrain.parallel import cuts

    cuts.stacked = lambda config, name, shape: (slice(0, shape[0]),)


def sum_the_tied_gradient_twice() -> None:
    """Both ends of the pipeline give their embedding to DeepSpeed two times."""
    from pretrain.parallel.pipeline import Stages

    once = Stages.get_tied_weights_and_groups
    Stages.get_tied_weights_and_groups = lambda stages: 2 * once(stages)  # type: ignore[method-assign]


def leave_a_stage_out_of_the_norm() -> None:
    """Each pipeline stage clips by the norm of its own gradients."""
    from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer

    DeepSpeedZeroOptimizer._model_parallel_all_reduce = lambda *_, **__: None


def average_each_micro_batch() -> None:
    """The loss of a micro-batch is divided by its own targets instead of those of the global batch."""
    from pretrain.parallel.runner import Whole

    def accumulate(runner: Whole, batches: Sequence[MicroBatch], number: int, scale: float) -> list[Losses]:
        passed, engine = [], runner.engine
        for index, (inputs, targets, document) in enumerate(batches):
            engine.set_gradient_accumulation_boundary(index == number - 1)
            losses: Any = engine(inputs, targets, document)
            engine.backward(losses.total / (targets >= 0).sum() / number, scale_wrt_gas=False)
            passed.append(losses)
        return passed

    Whole.accumulate = accumulate  # type: ignore[method-assign]


def forget_the_other_tokens() -> None:
    """Parameters that tensor ranks hold whole get the gradient of their own tokens only."""
    from pretrain.parallel import apply

    apply._summed = lambda gradient, axis: gradient


def die_on_the_second_rank() -> None:
    """The others wait for it."""
    import os

    if os.environ["RANK"] == "1":
        raise RuntimeError("the second rank has a problem")
