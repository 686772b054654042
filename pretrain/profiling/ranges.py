"""The parts of a step as named ranges, put around its pieces from outside while a profile is made.

Training itself has no ranges and pays nothing for them. What is wrapped are the calls by which `train_step` and
DeepSpeed do their work; a range is what `mark` makes of a name: `record_function` of torch.profiler, or NVTX's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch.distributed as dist

from pretrain.data.batch import Batch
from pretrain.model.layers import Block, Embedding, Head
from pretrain.parallel.engine import replaced
from pretrain.parallel.runner import Runner
from pretrain.training import step

PARTS = ("data", "forward", "backward", "communication", "optimizer")
"""Where ranges lie in each other, the inner one counts: communication is taken out of the part that waits for it."""

INSTRUCTIONS = {
    "LoadMicroBatch": "data",
    "ForwardPass": "forward",
    "BackwardPass": "backward",
    "ReduceGrads": "backward",  # as without a pipeline, where it happens at the end of the last backward pass
    "ReduceTiedGrads": "backward",
    "OptimizerStep": "optimizer",
}
"""Of a pipeline's instructions; the others send and receive."""

Mark = Callable[[str], AbstractContextManager[Any]]


@contextmanager
def ranges(runner: Runner, mark: Mark) -> Iterator[None]:
    """Inside, the parts and the layers of each step lie in ranges of their names."""
    with ExitStack() as stack:

        def put(name: str, owner: Any, *functions: str) -> None:
            for function in functions:
                stack.enter_context(replaced(owner, function, _marked(mark, name, getattr(owner, function))))

        put("data", step, "to_device")
        put("communication", dist.Work, "wait")  # every collective and message, whoever sent it, is waited for with it
        put("backward", runner, "reduce")
        put("optimizer", runner, "norm", "update", "leave_out")
        if instructions := getattr(runner.engine, "_INSTRUCTION_MAP", None):
            own = {
                kind: _marked(mark, INSTRUCTIONS.get(kind.__name__, "communication"), execute)
                for kind, execute in instructions.items()
            }
            stack.enter_context(replaced(runner.engine, "_INSTRUCTION_MAP", own))
        else:
            put("forward", runner.engine, "forward")
            put("backward", runner.engine, "backward")
        for name, module in runner.engine.module.named_modules():
            if isinstance(module, Embedding | Block | Head):
                # around what torch.compile made, not in it: each block's own name would have it compiled again
                put(name, module, "_compiled_call_impl" if module._compiled_call_impl else "forward")
        yield


def marked_batches(batches: Iterator[Batch], mark: Mark) -> Iterator[Batch]:
    """The same batches; waiting for each is data."""
    return iter(_marked(mark, "data", functools.partial(next, batches)), None)


def _marked(mark: Mark, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def inside(*arguments: Any, **named: Any) -> Any:
        with mark(name):
            return function(*arguments, **named)

    return inside
