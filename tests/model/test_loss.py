"""The chunked loss against PyTorch's on whole logits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.config import chunks
from pretrain.model import loss as loss_module
from pretrain.model.loss import Shard, cross_entropy

B, T, C, V, PADDED = 2, 7, 12, 37, 48


def case(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(B, T, C, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(PADDED, C, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(V, (B, T), generator=generator)
    targets[0, 3] = targets[1, 0] = -100
    return hidden, weight, targets


def reference(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Losses [B, T], 0 where there is no target."""
    logits = (hidden @ weight[:V].T).flatten(0, 1).float()
    return F.cross_entropy(logits, targets.flatten(), reduction="none", ignore_index=-100).view_as(targets)


@pytest.mark.parametrize("chunk", [1, 4, 5, 14, 1000])
def test_value_and_gradients_equal_pytorchs(chunk: int) -> None:
    hidden, weight, targets = case()
    expected = reference(hidden, weight, targets)
    wanted = torch.autograd.grad(expected.sum() * 0.3, (hidden, weight))
    total, per_token, _ = cross_entropy(hidden, weight, targets, V, chunk_tokens=chunk)
    found = torch.autograd.grad(total * 0.3, (hidden, weight))

    torch.testing.assert_close(per_token, expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(total, expected.sum(), atol=1e-5, rtol=1e-6)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert per_token[0, 3] == 0 and per_token[1, 0] == 0
    assert total.dtype == per_token.dtype == torch.float32 and not per_token.requires_grad


def test_literal() -> None:
    """Logits (ln 2, 0) and two padded columns: the target has probability 2/3."""
    hidden, weight = torch.tensor([[[0.6931472]]]), torch.tensor([[1.0], [0.0], [50.0], [60.0]])
    total = cross_entropy(hidden, weight, torch.tensor([[0]]), 2).total
    assert total.item() == pytest.approx(0.4054651, abs=1e-6)  # ln 3/2


def test_gradient_numerically() -> None:
    """Central differences in fp32 along random directions."""
    hidden, weight, targets = case()
    total = cross_entropy(hidden, weight, targets, V).total
    gradients = torch.autograd.grad(total, (hidden, weight))
    for index, (tensor, gradient) in enumerate(zip((hidden, weight), gradients, strict=True)):
        direction = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(index))
        step = 1e-2 * direction
        moved = [
            cross_entropy(*(x + sign * step if x is tensor else x for x in (hidden, weight)), targets, V).total
            for sign in (1, -1)
        ]
        slope = (moved[0] - moved[1]).item() / 2e-2
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=2e-3)


def test_default_chunk_follows_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    inner = loss_module._logits
    monkeypatch.setattr(loss_module, "_logits", lambda h, w, v: sizes.append(len(h)) or inner(h, w, v))
    monkeypatch.setitem(chunks.BYTES, "cpu", 5 * 4 * PADDED)
    cross_entropy(*case()[:2], case()[2], V)
    assert sizes == [5, 5, 4]


def test_no_target_at_all_is_zero() -> None:
    hidden, weight, targets = case()
    total, per_token, _ = cross_entropy(hidden, weight, torch.full_like(targets, -100), V)
    total.backward()
    assert total == 0 and not per_token.any() and not hidden.grad.any() and not weight.grad.any()


def test_no_gradient_work_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    inner = loss_module._losses_and_gradient
    monkeypatch.setattr(loss_module, "_losses_and_gradient", lambda *given: asked.append(given[3]) or inner(*given))
    monkeypatch.setattr(loss_module, "_add_product", lambda *_: pytest.fail("weight gradient made for nothing"))
    hidden, weight, targets = case()
    with torch.no_grad():
        silent = cross_entropy(hidden, weight, targets, V).total
    frozen = cross_entropy(hidden, weight.detach(), targets, V).total
    assert asked == [False, True] and silent == frozen
    frozen.backward()
    assert hidden.grad.abs().max() > 0


def test_bf16_gradients_are_scaled_in_fp32() -> None:
    """An upstream scalar just below 1 + 2^-8 is 1 in bf16: it would put all gradients off by 0.4%."""
    scale = 1.0039
    hidden, weight, targets = case(torch.bfloat16)
    total, per_token, _ = cross_entropy(hidden, weight, targets, V, chunk_tokens=2)
    torch.testing.assert_close(per_token, reference(hidden, weight, targets).detach(), atol=1e-5, rtol=1e-5)
    plain = torch.autograd.grad(total, (hidden, weight), retain_graph=True)
    scaled = torch.autograd.grad(total * scale, (hidden, weight))
    assert [gradient.dtype for gradient in (*plain, *scaled)] == [torch.bfloat16] * 4
    assert torch.equal(scaled[0], (plain[0].float() * scale).bfloat16())
    before, after = plain[1].float(), scaled[1].float()
    assert ((after * before).sum() / before.square().sum()).item() == pytest.approx(scale, abs=1e-3)

    wide = [x.detach().float().requires_grad_() for x in (hidden, weight)]
    for found, exact in zip(plain, torch.autograd.grad(reference(*wide, targets).sum(), wide), strict=True):
        torch.testing.assert_close(found.float(), exact, atol=0.02, rtol=0.02)


Z = 0.05
"""A z-loss large enough to be seen beside the loss."""


def z_reference(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Z x log(Z)^2 of each token, 0 where there is no target."""
    logits = hidden @ weight[:V].T
    return Z * torch.log(torch.exp(logits).sum(-1)).square() * (targets >= 0)


@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_z_loss_equals_the_formula(chunk: int) -> None:
    hidden, weight, targets = case()
    plain, beside = reference(hidden, weight, targets), z_reference(hidden, weight, targets)
    wanted = torch.autograd.grad((plain.sum() + beside.sum()) * 0.3, (hidden, weight))
    losses = cross_entropy(hidden, weight, targets, V, chunk_tokens=chunk, z_loss=Z)
    found = torch.autograd.grad(losses.total * 0.3, (hidden, weight))
    torch.testing.assert_close(losses.per_token, plain.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(losses.z_loss, beside.sum().detach(), atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(losses.total, plain.sum() + beside.sum(), atol=1e-5, rtol=1e-6)
    assert not losses.z_loss.requires_grad and losses.z_loss > 1
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_z_loss_literal() -> None:
    """Logits (ln 2, 0): Z is 3, and log(3)^2 is 1.206949."""
    hidden, weight = torch.tensor([[[0.6931472]]]), torch.tensor([[1.0], [0.0], [50.0]])
    losses = cross_entropy(hidden, weight, torch.tensor([[0]]), 2, z_loss=0.5)
    assert losses.z_loss.item() == pytest.approx(0.6034744, abs=1e-6)
    assert losses.total.item() == pytest.approx(0.4054651 + 0.6034744, abs=1e-6)


def test_z_loss_over_shards_of_the_vocabulary() -> None:
    """Each shard gives the whole loss, and its share of the gradient of hidden."""
    hidden, weight, targets = case()
    whole = cross_entropy(hidden, weight, targets, V, z_loss=Z)
    wanted_hidden, wanted_weight = torch.autograd.grad(whole.total, (hidden, weight))
    logits = (hidden @ weight[:V].T).flatten(0, 1).detach()
    log_sum, target = logits.logsumexp(-1), logits.gather(1, targets.clamp(min=0).flatten()[:, None]).squeeze(1)
    shares = []
    for first in (0, PADDED // 2):
        rows = weight[first : first + PADDED // 2].detach().requires_grad_()
        shard = Shard(first, lambda *_: (log_sum, target))
        losses = cross_entropy(hidden, rows, targets, V, chunk_tokens=1000, shard=shard, z_loss=Z)
        torch.testing.assert_close(losses.z_loss, whole.z_loss)
        shares.append(torch.autograd.grad(losses.total, (hidden, rows)))
    torch.testing.assert_close(shares[0][0] + shares[1][0], wanted_hidden, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat([shares[0][1], shares[1][1]]), wanted_weight, atol=1e-5, rtol=1e-5)


def test_fp16_keeps_the_gradient_of_unlikely_tokens() -> None:
    """Logits (0, -18): the second token has probability 1.5e-8, which fp16 would round to nothing."""
    hidden = torch.tensor([[[1.0]]], dtype=torch.float16, requires_grad=True)
    weight = torch.tensor([[0.0], [-18.0]], dtype=torch.float16, requires_grad=True)
    total = cross_entropy(hidden, weight, torch.tensor([[0]]), 2).total
    (gradient,) = torch.autograd.grad(total * 2.0**16, weight)
    assert gradient.dtype == torch.float16
    assert gradient[1].item() / 2**16 == pytest.approx(1.523e-8, rel=2e-3)


def test_fp16_sums_over_tokens_beyond_its_range() -> None:
    """131,072 tokens, each half sure: the sum is 65,536, above the largest fp16; their mean is not."""
    tokens = 2**17
    hidden = torch.ones(1, tokens, 1, dtype=torch.float16, requires_grad=True)
    weight = torch.zeros(2, 1, dtype=torch.float16, requires_grad=True)
    total = cross_entropy(hidden, weight, torch.zeros(1, tokens, dtype=torch.int64), 2).total
    (gradient,) = torch.autograd.grad(total / tokens, weight)
    assert gradient.flatten().tolist() == [-0.5, 0.5]
