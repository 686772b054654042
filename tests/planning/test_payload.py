"""What a rank sends, by hand."""

from typing import Any

import pytest

from pretrain.config.layout import layout_of
from pretrain.planning.payload import Line, step_payload
from tests.config.example import make_run

HIDDEN = 4 * 128 * 64 * 4
"""B T C of the example in fp32, in bytes."""


def lines(processes: int, micro_batches: int, pipe: int = 0, **changes: Any) -> dict[str, Line]:
    model = {"vocab_size": 256, **changes.pop("model", {})}
    run = make_run(model=model, precision={"compute": "fp32"}, **changes)
    layout = layout_of(run.parallel, processes)
    return {f"{line.axis}: {line.what}": line for line in step_payload(run, layout, micro_batches, pipe)}


def test_tensor_with_sequence_parallelism() -> None:
    """2 blocks of 6 gathers and 4 reduce-scatters, one of each around embedding and head; each sends half."""
    found = lines(2, 3, parallel={"tensor": 2})
    assert found["tensor: hidden states"].useful == 3 * (2 * 10 + 2 * 2) * HIDDEN / 2
    assert found["tensor: losses"].useful == 3 * 2 * 4 * 4 * 128
    assert found["tensor: gradients of repeated parameters"].useful == 3 * (2 * 6 * 64 + 2 * 64) * 4


def test_tensor_without_sequence_parallelism() -> None:
    """2 blocks of 4 all-reduces, one at each end; with two ranks each sends the whole."""
    found = lines(2, 1, parallel={"tensor": 2, "sequence_parallel": False})
    assert found["tensor: hidden states"].useful == 10 * HIDDEN
    assert "tensor: gradients of repeated parameters" not in found


def test_recompute_gathers_again() -> None:
    """Of each block both inputs and the output of attention; that of the MLP is not needed."""
    found = lines(2, 1, parallel={"tensor": 2, "recompute": "full"})
    assert found["tensor: hidden states"].useful == (2 * 13 + 4) * HIDDEN / 2


def test_a_parallel_block_exchanges_half() -> None:
    """2 blocks of 3 gathers and 2 reduce-scatters, or 2 all-reduces; recomputed, one gather each or nothing."""
    model = {"parallel_block": True}
    full = {"tensor": 2, "recompute": "full"}
    for parallel, passes in (
        ({"tensor": 2}, 2 * 5),
        ({"tensor": 2, "sequence_parallel": False}, 2 * 4),
        (full, 2 * 6),
        ({**full, "sequence_parallel": False}, 2 * 4),
    ):
        found = lines(2, 1, model=model, parallel=parallel)
        assert found["tensor: hidden states"].useful == (passes + 2 * 2) * HIDDEN / 2


def test_gradients_of_head_norms_are_summed_with_whole_tokens_too() -> None:
    """Of each of 2 blocks two norms of 16, once a micro-batch."""
    parallel = {"tensor": 2, "sequence_parallel": False}
    found = lines(2, 3, model={"qk_norm": True}, parallel=parallel)
    assert found["tensor: gradients of repeated parameters"].useful == 3 * 2 * 2 * 16 * 4


def test_shared_keys() -> None:
    """4 ranks, 2 key heads of 16: pairs join key and value, forward and back."""
    found = lines(4, 1, model={"kv_heads": 2}, parallel={"tensor": 4})
    assert found["tensor: shared keys and values"].useful == 2 * 2 * (2 * 4 * 128 * 16 * 4) / 2


def test_pipeline() -> None:
    """Rank 1 of 3 sends forward and back; both ends exchange their half of the tied table."""
    found = lines(3, 5, 1, model={"layers": 6}, parallel={"pipe": 3})
    assert list(found) == ["pipe: hidden states"] and found["pipe: hidden states"].useful == 5 * 2 * HIDDEN
    assert lines(3, 5, 0, model={"layers": 6}, parallel={"pipe": 3})["pipe: tied embedding"].useful == 256 * 64 * 4


def test_pipeline_whose_tensor_ranks_send_the_same() -> None:
    found = lines(4, 2, model={"layers": 4}, parallel={"pipe": 2, "tensor": 2, "sequence_parallel": False})
    assert found["pipe: hidden states"].useful == found["pipe: hidden states"].duplicates == 2 * HIDDEN / 2


def test_zero() -> None:
    """n = 4: 3/4 of the parameters, once per collective; stages 2 and 3 for each of 2 micro-batches."""
    once = (2 * (12 * 64**2 + 13 * 64) + (256 + 128) * 64 + 2 * 64) * 4 * 3 / 4
    sums = {zero: sum(line.useful for line in lines(4, 2, parallel={"zero": zero}).values()) for zero in (0, 1, 2, 3)}
    assert sums == {0: 2 * once, 1: 2 * once, 2: 3 * once, 3: 6 * once}


def test_padding_stands_apart() -> None:
    """56 rows of 64, and what rounds matrices and vectors up to multiples of 2 n = 6."""
    found = lines(3, 1, model={"vocab_size": 200}, parallel={"zero": 1})
    gradients, parameters = found["data: gradients"].padding, found["data: parameters"].padding
    assert gradients == pytest.approx(56 * 64 * 4 * 2 / 3)
    rounding = -(2 * 12 * 64**2 + 384 * 64) % 6 + -(2 * 13 * 64 + 2 * 64) % 6
    assert parameters - gradients == pytest.approx(rounding * 4 * 2 / 3)
