"""`parallel: auto`, against layouts worked out by hand."""

from typing import Any

import pytest

from pretrain.config.auto import choose_layout, state_bytes
from pretrain.config.constraints import check_run
from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run
from pretrain.config.run import Run
from pretrain.config.widths import PAPER
from tests.config.example import RUN, make_run, problem_of


def run_of(model: str, *overrides: str) -> Run:
    """The GPT-3 batch of 1,536 samples in micro-batches of one, on any model."""
    batch = ["batch.global_batch_size=1536", "batch.micro_batch_size=1", "batch.ramp=null"]
    return load_run("gpt3-125m", [f"model={model}", "parallel=auto", *batch, *overrides])


def chosen(run: Run, processes: int, node_size: int | None) -> tuple[int, int, int]:
    """(tensor, pipe, ZeRO)"""
    parallel = choose_layout(run, processes, node_size).parallel
    assert not parallel.auto
    return parallel.tensor, parallel.pipe, parallel.zero


# Bytes a process, in GB, from the parameters P: ZeRO 1 is 8 P + 12 P / data, ZeRO 2 is 2 P + 16 P / data; 48 fit.
LAYOUTS: dict[str, tuple[str, int, int | None, tuple[int, int, int]]] = {
    "P = 0.125: all fits": ("gpt3-125m", 1, None, (1, 1, 1)),
    "P = 6.66: ZeRO 1 needs 53 + 20; ZeRO 2 13.3 + 26.6": ("gpt3-6.7b", 4, None, (1, 1, 2)),
    "P = 12.9: ZeRO 1 needs 103 + 2.4; ZeRO 2 25.7 + 3.2": ("gpt3-13b", 64, None, (1, 1, 2)),
    "P = 174.6 / 8 = 21.8: ZeRO 1 needs 175; ZeRO 2 43.7 + 349 / 128": ("gpt3-175b", 1024, 8, (8, 1, 2)),
    "nodes of 4, P / 16 in 4 stages needs 88; P / 32 = 5.6: 44.8 + 2.1": ("gpt3-175b", 1024, 4, (4, 8, 1)),
    "P / 32 needs 44 + 16.6; P / 64 = 2.8: 22.4 + 16.8": ("gpt3-175b", 128, 8, (8, 8, 1)),
    "P = 65.3 / 8 = 8.2, data 4: ZeRO 2 needs 16.3 + 32.6; P / 32: 20 x 2.1": ("llama-65b", 32, 8, (8, 4, 1)),
    "25 heads, all fits": ("gpt2-1.5b", 8, 8, (1, 1, 1)),
    "1536 % 7: only a pipeline of one copy": ("gpt3-125m", 7, None, (1, 7, 1)),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_chosen(case: str) -> None:
    model, processes, node_size, expected = LAYOUTS[case]
    run = run_of(model)
    assert chosen(run, processes, node_size) == expected
    check_run(choose_layout(run, processes, node_size), processes, node_size)


def test_quickstart() -> None:
    """Its batch is one micro-batch of 16, which two data ranks cannot share unless it is cut."""
    assert chosen(load_run("quickstart", ["parallel=auto"]), 1, None) == (1, 1, 1)
    assert chosen(load_run("quickstart", ["parallel=auto", "batch.micro_batch_size=8"]), 2, None) == (1, 1, 1)
    assert chosen(load_run("quickstart", ["parallel=auto"]), 2, None) == (2, 1, 1)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["parallel.zero=1"], (4, 1, 1)),  # 8 x 6.4 = 51.4
        (["parallel.tensor=4"], (4, 1, 1)),
        (["parallel.pipe=4", "parallel.schedule=dualpipev"], (1, 4, 1)),
        (["parallel.zero=3", "parallel.offload=all"], (1, 1, 3)),
        (["parallel.offload=optimizer"], (1, 1, 2)),  # weights and gradients alone are 51.4 GB
        (["parallel.sequence_parallel=true"], (2, 1, 2)),
    ],
)
def test_what_is_given_is_kept(overrides: list[str], expected: tuple[int, int, int]) -> None:
    run = run_of("gpt3-13b", *overrides)
    assert chosen(run, 64, None) == expected
    assert chosen(Run.parse(run.plain()), 64, None) == expected


def test_bytes_of_model_states() -> None:
    """Rajbhandari et al. 2020, figure 1: 7.5B parameters over 64 processes take 120, 31.4, 16.6 and 1.9 GB."""
    model = {"layers": 1, "d_model": 1000, "heads": 1, "d_ff": 1, "context": 1, "positions": "none", "bias": False}
    rows = (7_500_000_000 - 4_004_000) // 1000
    for zero, expected in enumerate((120, 31.4, 16.6, 1.9)):
        sizes = {**model, "vocab_size": rows, "vocab_multiple": 1}
        run = make_run(model=sizes, parallel={"zero": zero}, data={"sequence_length": 1})
        assert state_bytes(run, 64, PAPER) / 1e9 == pytest.approx(expected, abs=0.05)


def test_a_given_layout_is_left_alone() -> None:
    run = make_run(parallel={"tensor": 2})
    assert choose_layout(run, 2) is run


REFUSED: dict[str, tuple[Run, int, str, str]] = {
    "too large": (run_of("gpt3-6.7b"), 1, "parallel", "3 processes, or parallel.offload: optimizer, or give"),
    "too large for a node": (run_of("gpt3-175b"), 8, "parallel", "80 processes, or give tensor, pipe and zero"),
    "the nearest layout": (run_of("gpt3-125m", "parallel.tensor=8"), 8, "parallel.tensor", "parallel.tensor: 4"),
    "another field": (run_of("gpt3-125m", "optimizer.betas=[0.9,1.0]"), 4, "optimizer.betas.1", "0.95"),
    "no grid": (run_of("gpt3-125m", "parallel.tensor=4"), 6, "parallel", "parallel.tensor: 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    run, processes, field, fix = REFUSED[case]
    with pytest.raises(ConfigError) as error:
        choose_layout(run, processes)
    problem = problem_of(error)
    assert problem.field == field
    assert fix in problem.fix


@pytest.mark.parametrize("parallel", ["auto", {"auto": True}])
def test_auto_is_a_word_or_a_field(parallel: Any) -> None:
    assert make_run(parallel=parallel).parallel.auto
    assert make_run(parallel=parallel).plain()["parallel"] == {"auto": True}


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        Run.parse({**RUN, "parallel": "automatic"})
    problem = problem_of(error)
    assert (problem.field, problem.rule) == ("parallel", "must be `auto` or a mapping")
    assert problem.fix == "parallel: auto"
