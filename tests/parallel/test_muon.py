"""Muon on one process against torch's own and by hand; layouts are rows of tests/training/layouts.py."""

import pytest
import torch

from pretrain.model.transformer import Transformer
from pretrain.parallel.muon import orthogonalize, scale
from pretrain.training.optimizer import make_optimizer, set_learning_rate
from tests.config.example import make_run


@pytest.mark.parametrize("adjust", ["match_rms_adamw", "original"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_five_steps_are_those_of_torch(adjust: str, nesterov: bool) -> None:
    """torch.optim.Muon for matrices (in bf16), torch.optim.AdamW for the rest; queries, keys, values apart."""
    settings = {"adjust_lr": adjust, "nesterov": nesterov}
    run = make_run(model={"vocab_size": 64}, optimizer={"name": "muon", **settings}, precision={"compute": "bf16"})
    torch.manual_seed(0)
    ours, theirs = Transformer(run.model), Transformer(run.model)
    theirs.load_state_dict(ours.state_dict())
    split = {n: [part.clone() for part in p.detach().split(64)] for n, p in theirs.named_parameters() if "qkv.w" in n}
    blocks = {n: p for n, p in theirs.named_parameters() if n.startswith("blocks.") and p.ndim == 2}
    matrices = [p for n, p in blocks.items() if n not in split] + [part for parts in split.values() for part in parts]
    others = [p for n, p in theirs.named_parameters() if n not in blocks]
    optimizers = [
        make_optimizer(ours, run),
        torch.optim.Muon(matrices, lr=1e-3, weight_decay=0.1, nesterov=nesterov, adjust_lr_fn=adjust),
        torch.optim.AdamW([p for p in others if p.ndim == 2], lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1),
        torch.optim.AdamW([p for p in others if p.ndim < 2], lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    set_learning_rate(optimizers[0], 1e-3)
    for _ in range(5):
        for (name, mine), their in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape)
            their.grad = mine.grad.clone()
            for part, gradient in zip(split.get(name, []), mine.grad.split(64), strict=False):
                part.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    for name, mine in ours.named_parameters():
        expected = torch.cat(split[name]) if name in split else theirs.get_parameter(name)
        assert torch.allclose(mine, expected, rtol=0, atol=1e-7), name


def test_singular_values_become_about_one() -> None:
    torch.manual_seed(1)
    for shape in ((16, 16), (48, 16), (16, 48)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape), 5, torch.float32))
        assert values.min() > 0.6 and values.max() < 1.25


def test_one_step_by_hand() -> None:
    """A matrix with one singular value x = 1: 3.4445 - 4.7750 + 2.0315 = 0.701 after a step."""
    assert orthogonalize(torch.tensor([[0.0, 7.0]]), 1, torch.float32).tolist() == [[0.0, pytest.approx(0.701)]]
    assert torch.equal(orthogonalize(torch.zeros(3, 2), 5, torch.float32), torch.zeros(3, 2))


def test_scales_by_hand() -> None:
    assert scale("match_rms_adamw", 64, 256) == pytest.approx(3.2)  # 0.2 x 16
    assert scale("original", 256, 64) == 2.0
    assert scale("original", 64, 256) == 1.0
