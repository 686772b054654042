"""Which part of each parameter a tensor rank holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pretrain.config.model import Model
from pretrain.model.transformer import Transformer
from pretrain.parallel.cuts import Cut, cut_of, stacked
from tests.model.builders import STYLES, small


def cut(name: str, shape: tuple[int, ...], rank: int, size: int, **model: Any) -> Cut | None:
    return cut_of(small(**model), name, shape, rank, size)


def test_rows_columns_and_what_is_not_cut() -> None:
    assert cut("blocks.0.mlp.up.weight", (128, 32), 1, 4) == Cut(0, (slice(32, 64),))
    assert cut("blocks.0.mlp.down.weight", (32, 128), 1, 4) == Cut(1, (slice(32, 64),))
    assert cut("embedding.positions.weight", (24, 32), 2, 3) == Cut(0, (slice(16, 24),))
    assert cut("blocks.2.attention.out.bias", (32,), 1, 2) is None
    assert cut("head.norm.weight", (32,), 1, 2) is None
    assert cut("blocks.0.mlp.up.weight", (128, 32), 0, 1) is None


def test_queries_keys_and_values_are_cut_apart() -> None:
    """4 heads of 8: rows 0..31 are queries, 32..63 keys, 64..95 values. Rank 1 of 2 has heads 2 and 3 of each."""
    expected = Cut(0, (slice(16, 32), slice(48, 64), slice(80, 96)))
    assert cut("blocks.0.attention.qkv.weight", (96, 32), 1, 2) == expected


def test_more_ranks_than_key_heads_have_a_piece_of_one() -> None:
    """2 key/value heads of 8 over 4 ranks: rank 3 has query head 3, and the second half of key/value head 1."""
    expected = Cut(0, (slice(24, 32), slice(44, 48), slice(60, 64)))
    assert cut("blocks.0.attention.qkv.bias", (64,), 3, 4, kv_heads=2) == expected
    assert expected.size == 16


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("style", STYLES)
def test_the_parts_make_up_the_whole(style: str, size: int) -> None:
    """Every element is on exactly one rank, so that sums of squares over ranks count it once."""
    config: Model = small(**STYLES[style])
    for name, whole in Transformer(config).state_dict().items():
        cuts = [cut_of(config, name, whole.shape, rank, size) for rank in range(size)]
        if None in cuts:
            assert cuts == [None] * size and whole.ndim == 1
            continue
        joined, held = torch.full_like(whole, torch.nan), 0
        for part in (part for part in cuts if part is not None):
            mine = part.of(whole)
            held += mine.numel()
            part.put(mine, joined)
        assert torch.equal(joined, whole) and held == whole.numel()


def test_what_is_stacked_in_one_parameter() -> None:
    """4 heads of 8 over 2 key/value heads: 32, 16 and 16 rows."""
    qkv = stacked(small(kv_heads=2), "blocks.0.attention.qkv.weight", (64, 32))
    assert qkv == (slice(0, 32), slice(32, 48), slice(48, 64))
    assert stacked(small(), "blocks.0.mlp.up.weight", (128, 32)) == (slice(0, 128),)
