"""Real processes do what the formulas say: arithmetic, messages, memory and idle slots of one step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pretrain.config.layout import Layout
from pretrain.config.model import Model
from pretrain.model.transformer import Transformer
from pretrain.parallel.accounting.flops import count_flops
from pretrain.parallel.accounting.instructions import scheduled
from pretrain.parallel.accounting.payload import axes_of, sent_bytes
from pretrain.parallel.accounting.saved import count_saved
from pretrain.planning.pipeline.idle import one_forward_one_backward, replay
from tests.parallel.counted import count_step
from tests.parallel.ratios import ratios

MODEL = {"layers": 4, "d_model": 128, "heads": 4, "context": 64, "vocab_size": 250}

ALL = {"parallel_block": True, "qk_norm": True, "positions": "alibi"}

LAYOUTS: dict[str, tuple[int, int, dict[str, Any], set[str]]] = {
    "tensor 2, pipe 2": (4, 4, {"tensor": 2, "pipe": 2}, set()),
    "tensor 2, recompute": (2, 2, {"tensor": 2, "recompute": "full", "recompute_every": 2}, set()),
    "pipe 2, dualpipev": (2, 4, {"pipe": 2, "schedule": "dualpipev"}, set()),
    # DeepSpeed sums gradients of whole parameters where a rank owns a part of one
    "zero 2": (2, 2, {"zero": 2}, {"bytes of gradients"}),
    "zero 3": (2, 2, {"zero": 3}, set()),
    "beside, normed, alibi, tensor 2": (2, 2, {"tensor": 2}, set()),
    "beside, normed, alibi, tensor 2 whole, recompute": (
        2, 2, {"tensor": 2, "sequence_parallel": False, "recompute": "full"}, set()
    ),
}  # fmt: skip
"""name: (processes, micro-batches, parallel, figures that are known to miss)."""


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_step_costs_what_the_formulas_say(name: str) -> None:
    processes, micro_batches, parallel, misses = LAYOUTS[name]
    data = processes // (parallel.get("tensor", 1) * parallel.get("pipe", 1))
    run = {
        "name": "counted",
        "train": {"tokens": "1M"},
        "model": {**MODEL, **(ALL if "beside" in name else {})},
        "data": {"manifest": "none"},
        "batch": {"global_batch_size": 2 * micro_batches * data, "micro_batch_size": 2},
        "optimizer": {"learning_rate": 1e-3},
        "precision": {"compute": "fp32"},
        "parallel": parallel,
    }
    counted = count_step(run, processes, micro_batches)
    missed = [figure for figure in ratios(run, processes, micro_batches, counted) if not figure.ok]
    assert {figure.what for figure in missed} == misses, missed
    if "pipe" in parallel:
        expected = scheduled(parallel.get("schedule", "1f1b"), parallel["pipe"], micro_batches)
        step = parallel.get("tensor", 1)
        assert [one.instructions for one in counted[::step]] == expected


def test_deepspeeds_1f1b_is_the_plain_one() -> None:
    """The same passes in the same order; it also says which messages they wait for."""
    assert scheduled("1f1b", 4, 8) == one_forward_one_backward(4, 8)


@pytest.mark.parametrize(("pipe", "micro_batches", "share"), [(2, 4, 1 / 7), (4, 8, 7 / 31)])
def test_dualpipev_idles_less_than_1f1b(pipe: int, micro_batches: int, share: float) -> None:
    idle = replay(scheduled("dualpipev", pipe, micro_batches)).idle_share
    assert idle == pytest.approx(share) and idle < (pipe - 1) / (micro_batches + pipe - 1)


def test_products_in_place_and_attention_are_counted() -> None:
    """[3, 4] x [4, 5] is 120 operations; attention of 2 x 8 x 8 x 16 is 4 and 8 times 2048."""
    left, right, total = torch.ones(3, 4), torch.ones(4, 5), torch.zeros(3, 5)
    q = torch.ones(1, 2, 8, 16, requires_grad=True)
    with count_flops() as count:
        total.addmm_(left, right)
        torch.mm(left, right, out=total)
        (left @ right, torch.addmm(total, left, right), left[None] @ right[None])
        torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward()
    assert count.flops == {"addmm": 240, "mm": 240, "bmm": 120, "attention": 12 * 2 * 8 * 8 * 16}


def test_a_storage_counts_once_and_until_it_is_freed() -> None:
    x = torch.ones(8, requires_grad=True)
    with count_saved() as saved:
        y = x.exp()  # keeps y
        z = (y * y).sum()  # keeps y, twice
    assert saved.now == saved.peak == 32
    z.backward()
    assert saved.now == 0


def test_parameters_are_not_activations() -> None:
    model = Transformer(Model.parse({**MODEL, "layers": 1}))
    tokens = torch.zeros(1, 9, dtype=torch.int64)
    with count_saved() as saved:
        kept = model(tokens[:, :-1], tokens[:, 1:])
    parameters = {parameter.data_ptr() for parameter in model.parameters()}
    assert kept.total.requires_grad and not parameters & saved.storages


def test_what_a_collective_has_to_send() -> None:
    assert sent_bytes("all_gather", 800, 4) == sent_bytes("reduce_scatter", 800, 4) == 600
    assert sent_bytes("all_reduce", 800, 4) == 1200
    assert sent_bytes("reduce", 800, 4) == 800 and sent_bytes("reduce", 800, 4, is_root=True) == 0


def test_axes_of_a_group() -> None:
    layout = Layout(2, 2, 2)
    assert axes_of(layout, [0, 1]) == "tensor" and axes_of(layout, [1, 3]) == "data"
    assert axes_of(layout, [0, 4]) == "pipe" and axes_of(layout, range(8)) == "pipe+data+tensor"
