"""Activations kept per layer: the paper's table in the paper's setting, and this project's own sum by hand."""

from typing import Any

import pytest

from pretrain.config.model import Model
from pretrain.config.parallel import Parallel
from pretrain.planning.memory.activations import PAPER, Storing, activation_bytes, block_bytes, storing
from pretrain.planning.pipeline.idle import Instruction, Work
from tests.config.example import make_run

GPT3 = Model.parse({"layers": 96, "d_model": 12288, "heads": 96, "context": 2048, "attention": "plain", "dropout": 0.1})
TABLE_2 = {
    "no parallelism": ({}, 2_868_903_936),
    "tensor": ({"tensor": 8, "sequence_parallel": False}, 578_813_952),
    "tensor and sequence": ({"tensor": 8}, 358_612_992),
    "tensor, selective": ({"tensor": 8, "sequence_parallel": False, "recompute": "selective"}, 327_155_712),
    "tensor and sequence, selective": ({"tensor": 8, "recompute": "selective"}, 106_954_752),
    "full": ({"tensor": 8, "sequence_parallel": False, "recompute": "full"}, 50_331_648),
}
"""Korthikanti et al. 2022, table 2, for GPT-3 175B: s b h = 25,165,824 and 5 a s / h = 80, so s b h times
34 + 80, 10 + 24/8 + 80/8, (34 + 80)/8, 10 + 24/8, 34/8 and 2."""


@pytest.mark.parametrize("name", TABLE_2)
def test_the_papers_table(name: str) -> None:
    parallel, expected = TABLE_2[name]
    assert block_bytes(GPT3, Parallel.model_validate(parallel), 1, 2048, 0, PAPER) == expected


def test_a_block_of_ours_by_hand() -> None:
    """bf16, fused attention, no dropout: 16 C numbers, two norms of two fp32 statistics, a logarithm per head."""
    model = Model.parse({"layers": 2, "d_model": 64, "heads": 4, "context": 128})
    expected = 2 * 128 * (16 * 64 * 2 + 2 * 2 * 4 + 4 * 4)
    assert block_bytes(model, Parallel(), 2, 128, 0, Storing(2, 4, 1, 4, 4)) == expected


def test_swiglu_with_shared_keys_by_hand() -> None:
    """fp32: norms 2 C, inputs 2 C, queries and result 2 C, keys and values C / 2 each, MLP 4 F."""
    fields = {"positions": "rope", "norm": "rmsnorm", "activation": "swiglu", "d_ff": 192, "kv_heads": 2}
    model = Model.parse({"layers": 2, "d_model": 64, "heads": 4, "context": 128, **fields})
    expected = 128 * ((7 * 64 + 4 * 192) * 4 + 2 * 4 + 4 * 4)
    assert block_bytes(model, Parallel(), 1, 128, 0, Storing(4, 4, 1, 4, 4)) == expected


def test_a_parallel_block_by_hand() -> None:
    """bf16: 14 C numbers and one norm's statistics; its input and its result are kept once."""
    model = Model.parse({"layers": 2, "d_model": 64, "heads": 4, "context": 128, "parallel_block": True})
    expected = 2 * 128 * (14 * 64 * 2 + 2 * 4 + 4 * 4)
    assert block_bytes(model, Parallel(), 2, 128, 0, Storing(2, 4, 1, 4, 4)) == expected


def test_normed_queries_and_keys_by_hand() -> None:
    """2 C numbers more, what they were before, and two statistics for each of 8 heads and token."""
    model = Model.parse({"layers": 2, "d_model": 64, "heads": 4, "context": 128, "qk_norm": True})
    expected = 128 * (18 * 64 * 2 + 2 * 2 * 4 + 8 * 2 * 4 + 4 * 4)
    assert block_bytes(model, Parallel(), 1, 128, 0, Storing(2, 4, 1, 4, 4)) == expected


STYLES: dict[str, dict[str, Any]] = {
    "gpt": {},
    "llama": {"positions": "rope", "norm": "rmsnorm", "activation": "swiglu", "bias": False, "kv_heads": 2},
    "alibi": {"positions": "alibi"},
    "alibi, written out": {"positions": "alibi", "attention": "plain"},
    "qk norm": {"qk_norm": True},
    "beside": {"parallel_block": True},
    "gptj": {"parallel_block": True, "positions": "rope", "rope_fraction": 0.5, "qk_norm": True},
}


@pytest.mark.parametrize("style", STYLES)
def test_the_sum_is_what_autograd_keeps(style: str) -> None:
    """In one process, in fp32, but for the loss itself."""
    import torch

    from pretrain.model.transformer import Transformer
    from pretrain.parallel.accounting.saved import count_saved

    fields = {"layers": 2, "d_model": 64, "heads": 4, "context": 64, "vocab_size": 100, **STYLES[style]}
    run = make_run(model=fields, data={"sequence_length": 64}, precision={"compute": "fp32"})
    tokens = torch.zeros(4, 65, dtype=torch.int64)
    model = Transformer(run.model)
    with count_saved() as saved:
        kept = model(tokens[:, :-1], tokens[:, 1:])
    assert kept.total.requires_grad
    assert saved.now == pytest.approx(activation_bytes(run, 0, storing(run, on_gpu=False)), abs=64)


def test_alibi_is_a_table_on_a_cpu_only() -> None:
    """4 heads of 128 x 128 in fp32, of each tensor rank half; 4 samples with documents, dense and banded layers."""
    model = {"vocab_size": 256, "positions": "alibi"}
    masked = {"data": {"document_mask": True}, "model": {**model, "bands": {"width": 16}}}
    for changes, table in (
        ({"model": model}, 4 * 128**2 * 4),
        ({"model": model, "parallel": {"tensor": 2}}, 2 * 128**2 * 4),
        (masked, 2 * 4 * 4 * 128**2 * 4),
    ):
        run = make_run(**changes, precision={"compute": "fp32"})
        kept = storing(run, on_gpu=False)
        without = activation_bytes(run, 0, kept._replace(bias=False))
        assert activation_bytes(run, 0, kept) - without == table
    assert not storing(run).bias


def test_more_ranks_than_key_heads() -> None:
    """Each rank has a whole key and value head: with 4 ranks and 2 heads, (1 + 2 + 1) x D."""
    model = Model.parse({"layers": 1, "d_model": 64, "heads": 4, "kv_heads": 2, "context": 128})
    parallel = Parallel(tensor=4)
    kept = Storing(4, 4, 1, 0, 0)
    assert block_bytes(model, parallel, 1, 128, 0, kept) == 128 * 4 * (4 * 64 / 4 + 4 * 16 + 2 * 256 / 4)


def test_every_other_block_recomputed() -> None:
    model = Model.parse({"layers": 2, "d_model": 64, "heads": 4, "context": 128})
    parallel = Parallel(recompute="full", recompute_every=2)
    first, second = (block_bytes(model, parallel, 1, 128, layer, Storing(2, 4, 1, 0, 0)) for layer in (0, 1))
    assert (first, second) == (128 * 64 * 2, 128 * 64 * 2 * 16)


def test_a_pipeline_keeps_what_is_in_flight() -> None:
    run = make_run(model={"layers": 4, "vocab_size": 256}, parallel={"pipe": 2}, precision={"compute": "fp32"})
    order = [Instruction(Work(kind, 0, 0)) for kind in "FFBFBB"]
    one = activation_bytes(run, 0, storing(run), order[:1])
    assert activation_bytes(run, 0, storing(run), order) == 2 * one
