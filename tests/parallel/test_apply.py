"""A model put on a mesh, without other processes: what each rank holds. The layout table shows that it trains alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pretrain.config.layout import Layout, layout_of
from pretrain.config.run import Run
from pretrain.model import init
from pretrain.model.init import initialize
from pretrain.model.transformer import Transformer
from pretrain.parallel.apply import local_layers, parallelize
from pretrain.parallel.cuts import cut_of
from pretrain.parallel.mesh import Axis, Mesh
from pretrain.parallel.process import World
from tests.config.example import make_run

TINY = {"layers": 2, "d_model": 16, "heads": 4, "context": 8, "vocab_size": 50, "vocab_multiple": 4}


def run_of(**changes: Any) -> Run:
    return make_run(**{"model": TINY, "data": {"sequence_length": None}, **changes})


def mesh_of(layout: Layout, rank: int) -> Mesh:
    at = layout.coordinate(rank)
    world = World(rank, layout.processes, torch.device("cpu"))
    return Mesh(world, layout, at, tensor=Axis(at.tensor, layout.tensor), ends=Axis())


def part_of(run: Run, rank: int) -> Transformer:
    """What a rank of a tensor group holds."""
    with torch.device("meta"):
        whole = Transformer(run.model)
    part = parallelize(whole, mesh_of(layout_of(run.parallel, run.parallel.tensor), rank), run)
    assert isinstance(part, Transformer)
    return part


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("tensor", [1, 2, 4])
def test_every_rank_draws_its_part_of_the_same_weights(tensor: int, tied: bool) -> None:
    run = run_of(parallel={"tensor": tensor}, model={**TINY, "tied_embeddings": tied})
    whole = Transformer(run.model)
    initialize(whole, run.model, run.train.seed)
    for rank in range(tensor):
        part = part_of(run, rank)
        assert [name for name, _ in part.named_parameters()] == [name for name, _ in whole.named_parameters()]
        for name, value in whole.named_parameters():
            cut = cut_of(run.model, name, value.shape, rank, tensor)
            assert torch.equal(part.get_parameter(name), value if cut is None else cut.of(value)), name
        assert (part.head.weight is part.embedding.tokens.weight) == tied


def test_a_rank_draws_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    inner = init._box_muller
    monkeypatch.setattr(init, "_box_muller", lambda draws: drawn.append(len(draws)) or inner(draws))  # type: ignore[func-returns-value]
    part = part_of(run_of(parallel={"tensor": 4}), 1)
    assert sum(drawn) == sum(p.numel() for p in part.parameters() if p.ndim == 2)


def test_parts_are_marked() -> None:
    """DeepSpeed counts a marked parameter on each rank, the others on the first one only."""
    part = part_of(run_of(parallel={"tensor": 2}), 1)
    unmarked = {name.rpartition(".blocks.0.")[2] for name, p in part.named_parameters() if not p.model_parallel}
    assert unmarked == {
        f"{place}{name}"
        for place in ("blocks.0.", "blocks.1.")
        for name in (
            "attention_norm.weight", "attention_norm.bias", "attention.out.bias",
            "mlp_norm.weight", "mlp_norm.bias", "mlp.down.bias",
        )
    } | {"head.norm.weight", "head.norm.bias"}  # fmt: skip


@pytest.mark.parametrize("split", [True, False])
def test_gradients_of_head_norms_are_summed_over_the_tensor_axis(split: bool) -> None:
    """Also with whole tokens, where those of other norms are equal on all ranks."""
    run = run_of(parallel={"tensor": 2, "sequence_parallel": split}, model={**TINY, "qk_norm": True})
    named = dict(part_of(run, 1).named_parameters())
    summed = {name for name, parameter in named.items() if parameter._backward_hooks}
    norms = {name for name in named if name.endswith(("q_norm.weight", "k_norm.weight"))}
    assert len(norms) == 4 and not any(named[name].model_parallel for name in norms)
    assert norms < summed if split else norms == summed
    assert all(named[name].shape == (4,) for name in norms)


@pytest.mark.parametrize(("rank", "heads"), [(0, slice(0, 2)), (1, slice(2, 4))])
def test_a_rank_knows_its_heads(rank: int, heads: slice) -> None:
    """ALiBi has a slope for each."""
    assert part_of(run_of(parallel={"tensor": 2}), rank).heads == heads


def test_layers_of_a_stage() -> None:
    """The head (50 x 16 twice) weighs less than a block here, so it shares the last stage with one."""
    run = run_of(parallel={"pipe": 2})
    assert local_layers(run, mesh_of(Layout(2, 1, 1), 0)) == ["embedding", "blocks.0"]
    assert local_layers(run, mesh_of(Layout(2, 1, 1), 1)) == ["blocks.1", "head"]


def test_a_rank_of_dualpipev_has_both_ends() -> None:
    run = run_of(parallel={"pipe": 2, "schedule": "dualpipev"}, model={**TINY, "layers": 6})
    assert local_layers(run, mesh_of(Layout(2, 1, 1), 0)) == ["embedding", "blocks.0", "blocks.5", "head"]
    assert local_layers(run, mesh_of(Layout(2, 1, 1), 1)) == ["blocks.1", "blocks.2", "blocks.3", "blocks.4"]
