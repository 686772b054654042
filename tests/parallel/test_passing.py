"""What forward hooks see of a small model, against the model run by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.config.layout import Coordinate, Layout
from pretrain.config.model import Model
from pretrain.model.init import initialize
from pretrain.model.transformer import Transformer
from pretrain.parallel.mesh import Axis, Mesh
from pretrain.parallel.passing import Passing
from pretrain.parallel.process import World
from pretrain.parallel.tally import Tally

MODEL = Model.parse({"layers": 2, "d_model": 16, "heads": 2, "context": 8, "vocab_size": 50})
NAMES = [
    *(f"{kind}/{layer}" for kind in ("activation", "activations", "activation_max") for layer in
      ("embedding", "blocks.0", "blocks.1")),
    *(f"{kind}/blocks.{n}" for kind in ("entropy", "entropies", "entropy_min", "logit_max", "zero", "units")
      for n in range(2)),
]  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
def test_two_micro_batches(compiled: bool) -> None:
    """Norms over both; attention and units of the first sample of the first. Compiled blocks are seen into as well."""
    mesh = Mesh(World(0, 1, torch.device("cpu")), Layout(1, 1, 1), Coordinate(0, 0, 0), Axis(), Axis())
    model, tally = Transformer(MODEL), Tally(NAMES, mesh)
    initialize(model, MODEL, 1)
    if compiled:
        for block in model.blocks:
            block.compile(backend="eager")
    tokens = torch.arange(48).view(2, 3, 8)  # micro-batches of 3 samples
    for batch in tokens:
        model(batch, batch)
    passing = Passing(model, mesh, False, tally)
    with passing.watched():
        for batch in tokens:
            model(batch, batch)
    model(tokens[0], tokens[0])  # not seen
    found = tally.total()
    hidden = [_after(model, batch, 2) for batch in tokens]
    assert found["activations/blocks.1"] == 2 * 3 * 8 * 16
    assert found["activation/blocks.1"] == pytest.approx(sum(h.square().sum().item() for h in hidden), rel=1e-5)
    assert found["activation_max/blocks.1"] == pytest.approx(max(h.abs().max().item() for h in hidden), rel=1e-5)
    assert found["activation/embedding"] == pytest.approx(
        sum(_after(model, batch, 0).square().sum().item() for batch in tokens), rel=1e-5
    )
    assert found["entropies/blocks.0"] == 2 * 8  # heads x queries
    assert found["units/blocks.0"] == 8 * 64
    up = model.blocks[0].mlp.up(_before_mlp(model, tokens[0]))[0]  # type: ignore[union-attr, operator]
    assert found["zero/blocks.0"] == (F.gelu(up, approximate="tanh").abs() < 0.01).sum()


def _after(model: Transformer, batch: Tensor, blocks: int) -> Tensor:
    sequence = model._sequence(batch, None)
    hidden = model.embedding(batch, sequence)
    for block in list(model.blocks)[:blocks]:
        hidden = block(hidden, sequence)
    return hidden  # type: ignore[no-any-return]


def _before_mlp(model: Transformer, batch: Tensor) -> Tensor:
    block, hidden, sequence = model.blocks[0], _after(model, batch, 0), model._sequence(batch, None)
    return block.mlp_norm(hidden + block.attention(block.attention_norm(hidden), sequence))  # type: ignore
