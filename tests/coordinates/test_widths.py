"""The run at other widths."""

from typing import Any

import pytest

from pretrain.config.errors import ConfigError
from pretrain.coordinates.widths import chosen_widths, run_at
from tests.config.example import make_run, problem_of


def test_heads_grow_with_the_width() -> None:
    run = make_run(model={"kv_heads": 2, "d_ff": 160, "mup": {"base_d_model": 32}})
    wide = run_at(run, 256).model
    assert (wide.d_model, wide.heads, wide.key_heads, wide.head_width, wide.mlp_width) == (256, 16, 8, 16, 640)
    assert wide.width_ratio == 8 and run_at(run, 64).model.plain() == run.model.plain() | {"d_head": 16}


def test_with_a_base_head_heads_are_wider() -> None:
    wide = run_at(make_run(model={"mup": {"base_d_model": 32, "base_d_head": 8}}), 256).model
    assert (wide.heads, wide.head_width, wide.score_scale) == (4, 64, 8**-0.5)


@pytest.mark.parametrize(
    ("model", "expected"),
    [({}, [64, 128, 256, 512]), ({"mup": {"base_d_model": 32}}, [32, 64, 128, 256])],
)
def test_widths_begin_at_the_base(model: dict[str, Any], expected: list[int]) -> None:
    assert chosen_widths(make_run(model=model), []) == expected
    assert chosen_widths(make_run(model=model), [96, 32, 96]) == [32, 96]


@pytest.mark.parametrize(
    ("asked", "rule", "fix"),
    [
        ([64], "must be at least two, to see what grows from one to the other", "--widths 64,128"),
        ([64, 72], "must give a whole number of heads: 4 x 72 / 64 is none", "a multiple of 16"),
        ([0, 64], "must give a whole number of d_ff: 256 x 0 / 64 is none", "a multiple of 16"),
    ],
)
def test_widths_that_cannot_be(asked: list[int], rule: str, fix: str) -> None:
    with pytest.raises(ConfigError) as error:
        chosen_widths(make_run(), asked)
    assert (problem_of(error).rule, problem_of(error).fix) == (rule, fix)
