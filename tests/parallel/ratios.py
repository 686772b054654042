"""What was counted against what the formulas say, one ratio each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pretrain.config.layout import Layout, layout_of
from pretrain.config.run import Run
from pretrain.planning.flops import step_flops
from pretrain.planning.memory.activations import activation_bytes, storing
from pretrain.planning.memory.states import state_bytes
from pretrain.planning.payload import step_payload
from pretrain.planning.pipeline.idle import replay
from tests.parallel.counted import Counted
from tests.planning.pipeline.forms import idle_share_1f1b


class Ratio(NamedTuple):
    """One figure."""

    what: str
    counted: float
    formula: float
    limit: float
    """The largest counted / formula that is wanted."""
    note: str = ""

    @property
    def ratio(self) -> float:
        """counted / formula."""
        return self.counted / self.formula if self.formula else 1.0 + self.counted

    @property
    def ok(self) -> bool:
        """Whether it is as small as wanted."""
        return self.ratio <= self.limit


def ratios(plain: dict[str, Any], processes: int, micro_batches: int, counted: Sequence[Counted]) -> list[Ratio]:
    """All figures of a step; of those that differ between ranks the one with the largest ratio."""
    run = Run.parse(plain)
    layout = layout_of(run.parallel, processes)
    found = [_flops(run, layout, micro_batches, counted)]
    by_rank = [list(_of_rank(run, layout, micro_batches, rank, one)) for rank, one in enumerate(counted)]
    found += [max(same, key=lambda figure: figure.ratio) for same in zip(*by_rank, strict=True)]
    return found + (_idle(run, layout, micro_batches, counted) if layout.pipe > 1 else [])


def _flops(run: Run, layout: Layout, micro_batches: int, counted: Sequence[Counted]) -> Ratio:
    tokens = micro_batches * run.batch.micro_batch_size * run.sequence_length * layout.data
    executed, needed = sum(sum(one.flops.values()) for one in counted), step_flops(run)
    note = f"factor {needed.factor:.3f}, executed / model {executed / tokens / needed.model:.3f}"
    return Ratio("FLOPs", executed, tokens * (needed.model + needed.recompute), 1.01, note)


def _of_rank(run: Run, layout: Layout, micro_batches: int, rank: int, one: Counted) -> Iterator[Ratio]:
    at = layout.coordinate(rank).pipe
    for axis in ("tensor", "pipe", "data"):
        if getattr(layout, axis) > 1:
            yield _payload(run, layout, micro_batches, at, axis, one)
    states = state_bytes(run, layout, at)
    for name, held, formula in zip(states._fields, one.held, states, strict=False):
        yield Ratio(f"bytes of {name}", held, formula, 1.02)
    kept = activation_bytes(run, at, storing(run, on_gpu=False), one.instructions)
    yield Ratio("saved activations", one.saved, kept, 1.05)


def _payload(run: Run, layout: Layout, micro_batches: int, at: int, axis: str, one: Counted) -> Ratio:
    lines = [line for line in step_payload(run, layout, micro_batches, at) if line.axis == axis]
    useful = sum(line.useful for line in lines)
    duplicates, padding = sum(line.duplicates for line in lines), sum(line.padding for line in lines)
    by_kind = {kind: sent for (where, kind), sent in one.payload.items() if where == axis}
    note = ", ".join(f"{kind} {sent:,}" for kind, sent in sorted(by_kind.items()))
    apart = f"; apart: duplicates {duplicates:,.0f}, padding {padding:,.0f}, control {one.control:,}"
    return Ratio(f"payload, {axis} axis", sum(by_kind.values()) - duplicates - padding, useful, 1.02, note + apart)


def _idle(run: Run, layout: Layout, micro_batches: int, counted: Sequence[Counted]) -> list[Ratio]:
    """Of the first data and tensor rank of each stage. DualPipeV shall have less than 1F1B has in theory."""
    orders = [counted[layout.rank(pipe, 0, 0)].instructions for pipe in range(layout.pipe)]
    theory = idle_share_1f1b(layout.pipe, micro_batches)
    limit = 1.1 if run.parallel.schedule == "1f1b" else 1.0
    return [Ratio("idle share", replay(orders).idle_share, theory, limit, f"(p - 1) / (m + p - 1) = {theory:.4f}")]
