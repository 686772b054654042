"""Tokens of a chunk of logits, by hand."""

import pytest

from pretrain.config.chunks import tokens_at_once


@pytest.mark.parametrize(
    ("columns", "device", "tokens"),
    [
        (50_304, "cpu", 333),  # 64 MiB / (4 x 50,304) = 333.5
        (50_304, "cuda", 2560),  # 512 MiB / (4 x 50,304) = 2,668, in tiles of 128
        (250_880 * 8, "cuda", 128),  # 66.9, no less than a tile
        (10**9, "cpu", 1),
    ],
)
def test_tokens_at_once(columns: int, device: str, tokens: int) -> None:
    assert tokens_at_once(columns, device) == tokens
