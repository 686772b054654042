"""Masks against hand-written ones, kernels against each other, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pretrain.config.errors import ConfigError
from pretrain.model import attention
from pretrain.model.attention import KERNELS, Sight, additive_mask, boolean_mask, choose
from pretrain.model.positions import alibi_slopes, document_starts, rotary_of, rotate
from pretrain.model.sequence import describe
from tests.model.builders import STYLES, build, small, tokens

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
DOCUMENT = torch.tensor([[7, 7, 3, 3, 3, 7], [0, 0, 0, 0, 1, 2]], dtype=torch.int32)


def rows(mask: Tensor) -> list[str]:
    return ["".join("x" if seen else "." for seen in row) for row in mask.tolist()]


def sight(
    width: int | None = None,
    document: Tensor | None = None,
    length: int = 6,
    past: int = 0,
    slopes: list[float] | None = None,
) -> Sight:
    start = None if document is None else document_starts(document)
    biases = None if slopes is None else torch.tensor(slopes)
    return Sight(2, torch.arange(past, length), length, start, width, slopes=biases)


def test_dense_mask() -> None:
    assert rows(boolean_mask(sight())[0, 0]) == ["x.....", "xx....", "xxx...", "xxxx..", "xxxxx.", "xxxxxx"]


def test_band_of_three_sees_itself_and_two_before() -> None:
    assert rows(boolean_mask(sight(3))[0, 0]) == ["x.....", "xx....", "xxx...", ".xxx..", "..xxx.", "...xxx"]


def test_band_with_a_cache_of_four_tokens() -> None:
    assert rows(boolean_mask(sight(3, past=4))[0, 0]) == ["..xxx.", "...xxx"]


def test_document_mask() -> None:
    """The third document has the id of the first: it still is another one."""
    first, second = boolean_mask(sight(document=DOCUMENT))[:, 0]
    assert rows(first) == ["x.....", "xx....", "..x...", "..xx..", "..xxx.", ".....x"]
    assert rows(second) == ["x.....", "xx....", "xxx...", "xxxx..", "....x.", ".....x"]


def test_band_inside_documents() -> None:
    first, second = boolean_mask(sight(2, DOCUMENT))[:, 0]
    assert rows(first) == ["x.....", "xx....", "..x...", "..xx..", "...xx.", ".....x"]
    assert rows(second) == ["x.....", "xx....", ".xx...", "..xx..", "....x.", ".....x"]


def test_positions_restart() -> None:
    sequence = describe(small(), (2, 6), torch.device("cpu"), document=DOCUMENT)
    assert sequence.positions.tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 0, 0]]


def test_masks_are_made_once_per_width() -> None:
    config = small(layers=6, bands={"every": 3, "width": 2})
    masks = describe(config, (1, 4), torch.device("cpu")).masks
    assert sorted(masks, key=str) == [2, None] and masks[None] is None
    assert rows(masks[2][0, 0] == 0) == ["x...", "xx..", ".xx.", "..xx"]


def test_band_as_wide_as_the_sequence_stays_causal() -> None:
    config = small(bands={"every": 1, "width": 4})
    assert describe(config, (1, 4), torch.device("cpu")).masks == {4: None}
    assert describe(config, (1, 5), torch.device("cpu")).masks[4] is not None


def test_slopes_of_the_paper() -> None:
    """Press et al. 2022, section 3: 1/2, 1/4 ... 1/256 for 8 heads, 1/2^0.5, 1/2 ... 1/2^8 for 16."""
    assert alibi_slopes(8) == [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]
    assert alibi_slopes(16)[:3] == pytest.approx([2**-0.5, 0.5, 2**-1.5]) and alibi_slopes(16)[-1] == 2**-8
    assert alibi_slopes(1) == [2**-8]


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 8, 12, 13, 25, 32, 40, 112])
def test_slopes_are_those_of_mpt_and_bloom(heads: int) -> None:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    mpt = -build_mpt_alibi_tensor(heads, 2)[:, 0, 0]  # of the key one token behind
    bloom = build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1]
    torch.testing.assert_close(torch.tensor(alibi_slopes(heads)), mpt)
    torch.testing.assert_close(mpt, bloom)


def test_alibi_by_hand() -> None:
    """Slopes 1 and 1/2, a band of 3, documents: the distance, not the position, counts."""
    first, second = additive_mask(sight(3, DOCUMENT, slopes=[1.0, 0.5]))
    inf = float("-inf")
    assert first[0, 4].tolist() == [inf, inf, -2, -1, 0, inf]  # tokens 2 to 4 are a document
    assert second[1, 3].tolist() == [inf, -1, -0.5, 0, inf, inf] and second[1, 5].tolist() == [inf] * 5 + [0]
    assert additive_mask(sight(past=5, slopes=[2.0]))[0, 0].tolist() == [[-10, -8, -6, -4, -2, 0]]  # with a cache


def test_a_rank_biases_its_own_heads() -> None:
    config = small(positions="alibi", attention="sdpa")
    whole = describe(config, (1, 5), CPU).masks[None]
    part = describe(config, (1, 5), CPU, heads=slice(2, 4)).masks[None]
    assert whole.shape == (1, 4, 5, 5) and torch.equal(part, whole[:, 2:])


def test_alibi_is_given_to_flex_on_cuda() -> None:
    """A causal model with ALiBi counts as masked: sdpa would hold a table of all scores."""
    assert not sight(slopes=[1.0]).causal and sight().causal


def test_rotation_literals() -> None:
    """Position 3, D 4, theta 100: pairs (0, 2) and (1, 3) turn by 3 and by 0.3."""
    x = torch.tensor([[[[1.0, 0.0, 0.0, 2.0]]]])
    turned = rotate(x, rotary_of(torch.tensor([[3]]), 4, 100.0)).flatten()
    expected = [math.cos(3), -2 * math.sin(0.3), math.sin(3), 2 * math.cos(0.3)]
    torch.testing.assert_close(turned, torch.tensor(expected))


def test_rotation_of_some_columns() -> None:
    """GPT-NeoX's layout: of 6 columns the first 4 turn as a head of 4 would, the others stay."""
    x = torch.tensor([[[[1.0, 0.0, 0.0, 2.0, 5.0, 7.0]]]])
    turned = rotate(x, rotary_of(torch.tensor([[3]]), 4, 100.0)).flatten()
    expected = [math.cos(3), -2 * math.sin(0.3), math.sin(3), 2 * math.cos(0.3), 5, 7]
    torch.testing.assert_close(turned, torch.tensor(expected))


def test_rotation_keeps_bf16_and_turns_in_fp32() -> None:
    x = torch.randn(1, 3, 2, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    rotary = rotary_of(torch.tensor([[2045, 2046, 2047]]), 8, 10_000.0)
    assert torch.equal(rotate(x, rotary), rotate(x.float(), rotary).bfloat16())


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("kernel", ["plain", "sdpa", "flex"])
@pytest.mark.parametrize("which", ["dense", "band", "documents", "documents and band", "alibi", "all three"])
def test_kernels_agree(which: str, kernel: str, kv_heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a loop over queries. Flex runs uncompiled here: the same mask function, slower arithmetic."""
    from torch.nn.attention.flex_attention import flex_attention

    monkeypatch.setattr(attention, "_compiled_flex", lambda: flex_attention)
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 4, 6, 16, generator=generator)
    k, v = torch.randn(2, 2, kv_heads, 6, 16, generator=generator)
    every = which == "all three"
    slopes = [0.25, 0.0625, 1.5, 0.0] if every or which == "alibi" else None
    seen = sight(3 if every or "band" in which else None, DOCUMENT if every or "doc" in which else None, slopes=slopes)
    mask = boolean_mask(seen).expand(2, -1, -1, -1)
    expected = torch.empty_like(q)
    for b in range(2):
        for h in range(4):
            for t in range(6):
                keys, values = (x[b, h * kv_heads // 4][mask[b, 0, t]] for x in (k, v))
                distance = torch.arange(len(keys) - 1, -1, -1)  # every key that is seen lies right before the next
                bias = distance * -slopes[h] if slopes else 0
                expected[b, h, t] = (keys @ q[b, h, t] / 4 + bias).softmax(0) @ values
    found = KERNELS[kernel].attend(q, k, v, KERNELS[kernel].prepare(seen), 0.0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_flash_kernel_is_causal_attention() -> None:
    q, k, v = torch.randn(3, 2, 4, 6, 16, generator=torch.Generator().manual_seed(0))
    plain = KERNELS["plain"].attend(q, k, v, boolean_mask(sight()), 0.0)
    torch.testing.assert_close(KERNELS["flash"].attend(q, k, v, KERNELS["flash"].prepare(sight()), 0.0), plain)


def test_flash_spans() -> None:
    spans = KERNELS["flash"].prepare(sight(4, DOCUMENT))
    assert spans.starts.tolist() == [0, 2, 5, 6, 10, 11, 12] and spans.starts.dtype == torch.int32
    assert (spans.longest, spans.width) == (6, 4)
    assert KERNELS["flash"].prepare(sight(4)).starts.tolist() == [0, 6, 12]


FP32, BF16 = torch.float32, torch.bfloat16


@pytest.mark.parametrize(
    ("device", "masked", "dropout", "kernel"),
    [
        (CPU, False, 0.0, "sdpa"),
        (CPU, True, 0.0, "sdpa"),
        (CUDA, False, 0.0, "sdpa"),
        (CUDA, True, 0.0, "flex"),
        (CUDA, True, 0.1, "sdpa"),
    ],
)
def test_auto(device: torch.device, masked: bool, dropout: float, kernel: str) -> None:
    assert choose("auto", device, BF16, masked, dropout) == kernel


@pytest.mark.parametrize(
    ("requested", "device", "dtype", "masked", "dropout", "rule"),
    [
        ("flex", CPU, FP32, True, 0.0, "CUDA only, this is cpu"),
        ("flex", CUDA, BF16, True, 0.1, "no dropout"),
        ("flash", CPU, FP32, True, 0.0, "runs on CUDA, this is cpu"),
        ("flash", CUDA, FP32, False, 0.0, "computes in bf16"),
        ("flash", CUDA, BF16, True, 0.1, "no dropout"),
    ],
)
def test_refusals(
    requested: str, device: torch.device, dtype: torch.dtype, masked: bool, dropout: float, rule: str
) -> None:
    with pytest.raises(ConfigError, match=rule) as error:
        choose(requested, device, dtype, masked, dropout)
    problem = error.value.problems[0]
    assert (problem.field, problem.value) == ("model.attention", requested) and "sdpa" in problem.fix


def test_requests_that_can_be_met_are() -> None:
    for request in ("plain", "sdpa", "flash"):
        assert choose(request, CPU, FP32, False, 0.1) == request
    assert choose("flash", CUDA, BF16, True, 0.0) == "flash"
    assert choose("flex", CUDA, FP32, False, 0.0) == "flex"


def test_model_refuses_before_computing() -> None:
    config = small(attention="flash", bands={"width": 2})
    inputs, targets = tokens(config, 1, 5)
    with pytest.raises(ConfigError, match="documents or bands runs on CUDA"):
        build(config)(inputs, targets)


@pytest.mark.parametrize("attention", ["plain", "sdpa"])
@pytest.mark.parametrize("bands", [None, {"every": 2, "width": 3}])
@pytest.mark.parametrize("style", STYLES)
def test_packed_documents_equal_documents_alone(style: str, bands: dict[str, int] | None, attention: str) -> None:
    config = small(**STYLES[style], bands=bands, attention=attention)
    model = build(config)
    inputs, targets = tokens(config, 2, 20)
    lengths = ((5, 1, 14), (11, 9))
    document = torch.stack([torch.repeat_interleave(torch.tensor(row)) for row in lengths]).int()
    packed = model(inputs, targets, document)
    gradients = torch.autograd.grad(packed.total, list(model.parameters()))

    alone = []
    for row, row_lengths in enumerate(lengths):
        pieces = zip(inputs[row].split(row_lengths), targets[row].split(row_lengths), strict=True)
        alone += [model(piece[None], target[None]) for piece, target in pieces]
    per_token = torch.cat([losses.per_token[0] for losses in alone])
    torch.testing.assert_close(packed.per_token.flatten(), per_token, atol=1e-5, rtol=1e-5)
    expected = torch.autograd.grad(sum(losses.total for losses in alone), list(model.parameters()))
    for (name, _), found, wanted in zip(model.named_parameters(), gradients, expected, strict=True):
        scale = wanted.abs().max().item()
        torch.testing.assert_close(found, wanted, atol=1e-5 * max(scale, 1), rtol=0, msg=lambda m, n=name: f"{n} {m}")
    assert (model(inputs, targets).per_token - packed.per_token).abs().max() > 0.1, "the mask must matter"
