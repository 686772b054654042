"""Ranges are there while they are asked for, and nothing is left of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch.distributed as dist
from torch import nn

from pretrain.config.model import Model
from pretrain.model.transformer import Transformer
from pretrain.profiling.ranges import marked_batches, ranges


class Engine(nn.Module):
    """As DeepSpeed's, as far as ranges see it."""

    def __init__(self) -> None:
        super().__init__()
        self.module = Transformer(Model.parse({"layers": 1, "d_model": 8, "heads": 2, "context": 4, "vocab_size": 8}))

    def forward(self) -> str:
        return "losses"

    def backward(self) -> None:
        pass


def make_runner(engine: Any) -> Any:
    return SimpleNamespace(engine=engine, **dict.fromkeys(("reduce", "norm", "update", "leave_out"), lambda: None))


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def mark(seen: list[str]) -> Any:
    @contextlib.contextmanager
    def marking(name: str) -> Iterator[None]:
        seen.append(name)
        yield
        seen.append(f"/{name}")

    return marking


def test_the_calls_of_a_step_lie_in_ranges(seen: list[str], mark: Any) -> None:
    runner, wait = make_runner(Engine()), dist.Work.wait
    with ranges(runner, mark):
        assert runner.engine() == "losses"
        runner.engine.backward()
        runner.reduce()
        runner.norm()
        runner.update()
        assert dist.Work.wait is not wait
    assert seen[::2] == ["forward", "backward", "backward", "optimizer", "optimizer"]
    assert dist.Work.wait is wait
    assert [key for key in vars(runner.engine) if key in ("forward", "backward")] == []
    assert "forward" not in vars(runner.engine.module.blocks[0])


def test_a_compiled_block_keeps_its_code(seen: list[str], mark: Any) -> None:
    engine = Engine()
    block = engine.module.blocks[0]
    block._compiled_call_impl = compiled = lambda hidden, sequence: hidden + 1
    with ranges(make_runner(engine), mark):
        assert block(1, None) == 2
        assert "forward" not in vars(block)
    assert seen == ["blocks.0", "/blocks.0"] and block._compiled_call_impl is compiled


def test_a_pipelines_instructions_are_its_parts(seen: list[str], mark: Any) -> None:
    engine = cast(Any, Engine())
    kinds = [type(name, (), {}) for name in ("LoadMicroBatch", "ForwardPass", "SendActivation", "BackwardPass")]
    engine._INSTRUCTION_MAP = dict.fromkeys(kinds, lambda engine, buffer_id: buffer_id)
    with ranges(make_runner(engine), mark):
        assert [engine._INSTRUCTION_MAP[kind](engine, buffer_id=3) for kind in kinds] == [3, 3, 3, 3]
    assert seen[::2] == ["data", "forward", "communication", "backward"]


def test_waiting_for_batches_is_data(seen: list[str], mark: Any) -> None:
    assert list(marked_batches(cast(Any, iter([1, 2])), mark)) == [1, 2]
    assert seen[:4] == ["data", "/data", "data", "/data"]
