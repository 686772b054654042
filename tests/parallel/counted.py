"""One training step on made-up tokens in real processes, counted: what tests and benchmarks of accounting read."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from tests.processes import SECONDS, free_port, kill

WARM = 2
"""Steps before the counted one: stages tell each other their shapes in the first, ZeRO 3 learns its order."""


@dataclass(frozen=True)
class Counted:
    """What one rank did in one step."""

    flops: dict[str, int]
    """By kind of product."""
    payload: dict[tuple[str, str], int]
    """Bytes sent by (axes, operation)."""
    control: int
    """Bytes sent in norms, votes and shapes."""
    messages: int
    """Calls, without control."""
    saved: int
    """The most bytes of activations kept at once."""
    held: tuple[int, int, int, int]
    """Bytes of parameters, gradients, optimizer state, buffers, while micro-batches are summed."""
    instructions: list[Any]
    """Of a pipeline: its passes in order."""
    norm: float
    """Of the gradient, for comparing settings."""


def count_step(plain: dict[str, Any], processes: int, micro_batches: int) -> list[Counted]:
    """Each rank's account of one step of the run `plain` (with model.vocab_size given); its data are not read."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preload"])
    port, ends = free_port(), []
    children: list[BaseProcess] = []
    for rank in range(processes):
        mine, theirs = context.Pipe()
        child = context.Process(target=_body, args=(theirs, rank, processes, port, plain, micro_batches), daemon=True)
        child.start()
        theirs.close()
        children.append(child)
        ends.append(mine)
    try:
        return [_received(end) for end in ends]
    finally:
        kill(children)


def _received(end: Connection) -> Counted:
    assert end.poll(SECONDS), "a rank hangs"
    got = end.recv()
    assert isinstance(got, Counted), got
    return got


def _body(end: Connection, rank: int, size: int, port: int, plain: dict[str, Any], micro_batches: int) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    import torch

    from pretrain.parallel.process import join_world, leave_world

    torch.set_num_threads(1)
    try:
        world = join_world()
        end.send(_count(plain, world, micro_batches))
        world.barrier()
        leave_world()
    except Exception:
        end.send(traceback.format_exc())
        raise


def make(plain: dict[str, Any], world: Any) -> tuple[Any, Any, Any]:
    """(run, mesh, runner): as training sets them up, without a corpus."""
    import torch

    from pretrain.config.deepspeed import deepspeed_config
    from pretrain.config.run import Run
    from pretrain.model.transformer import Transformer
    from pretrain.parallel.apply import parallelize
    from pretrain.parallel.engine import make_engine, prepare_deepspeed
    from pretrain.parallel.mesh import make_mesh
    from pretrain.parallel.runner import make_runner
    from pretrain.training.optimizer import make_optimizer

    run = Run.parse(plain)
    mesh = make_mesh(world, run.parallel)
    with torch.device("meta"):
        whole = Transformer(run.model)
    prepare_deepspeed()
    model = parallelize(whole, mesh, run)
    optimizer = make_optimizer(model, run, mesh.tensor)
    engine = make_engine(model, optimizer, deepspeed_config(run, world.size), mesh)
    return run, mesh, make_runner(engine, mesh)


def micro_batch(run: Any, number: int, data_rank: int) -> tuple[Any, Any, None]:
    """Inputs and targets [B, T]: the same tokens for every layout."""
    import torch

    generator = torch.Generator().manual_seed(1000 * data_rank + number)
    shape = (run.batch.micro_batch_size, run.sequence_length + 1)
    tokens = torch.randint(run.model.vocabulary, shape, generator=generator)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), None


def _count(plain: dict[str, Any], world: Any, micro_batches: int) -> Counted:
    from pretrain.parallel.accounting.flops import count_flops
    from pretrain.parallel.accounting.held import bytes_held
    from pretrain.parallel.accounting.instructions import record_instructions
    from pretrain.parallel.accounting.payload import count_payload
    from pretrain.parallel.accounting.saved import count_saved

    run, mesh, runner = make(plain, world)
    given = [micro_batch(run, n, mesh.at.data) for n in range(micro_batches)] if runner.reads else []
    scale = 1 / (micro_batches * run.batch.micro_batch_size * run.sequence_length * mesh.layout.data)
    for _ in range(WARM):
        runner.accumulate(given, micro_batches, scale)
        runner.reduce()
        runner.update()
    with count_flops() as flops, count_payload(mesh.layout) as payload:
        if mesh.layout.pipe > 1:
            with record_instructions(runner.engine, mesh) as recorder:
                runner.accumulate(given, micro_batches, scale)
        else:
            runner.accumulate(given, micro_batches, scale)
        runner.reduce()
        norm = runner.update()
    held: list[Any] = []
    with count_saved() as saved:
        last = given if mesh.layout.pipe > 1 else _Peeking(given, lambda: held.append(bytes_held(runner.engine)))
        runner.accumulate(last, micro_batches, scale)
    if mesh.layout.pipe > 1:
        held.append(bytes_held(runner.engine))
    runner.reduce()
    runner.update()
    control = sum(payload.total(control=True).values())
    messages = sum(not message.control for message in payload.messages)
    passes = recorder.instructions if mesh.layout.pipe > 1 else []
    return Counted(dict(flops.flops), payload.total(), control, messages, saved.peak, tuple(held[-1]), passes, norm)


class _Peeking(Sequence[Any]):
    """Micro-batches that call `look` before the last one, when gradients of the others are there."""

    def __init__(self, given: list[Any], look: Any) -> None:
        self._given, self._look = given, look

    def __len__(self) -> int:
        return len(self._given)

    def __getitem__(self, index: Any) -> Any:
        return self._given[index]

    def __iter__(self) -> Iterator[Any]:
        *before, last = self._given
        yield from before
        self._look()
        yield last
