"""Every row of the constraint table, broken once."""

from typing import Any

import pytest

from pretrain.config.constraints import CONSTRAINTS, check_run
from pretrain.config.errors import ConfigError
from tests.config.example import make_run, problem_of

BROKEN: dict[str, tuple[dict[str, Any], int, str, str, str]] = {
    "whole-samples": (
        {"batch": {"global_batch_size": "5000 tokens"}}, 1,
        "batch.global_batch_size", "39 samples (4,992 tokens) or 40 samples (5,120 tokens)", "nearest sizes",
    ),
    "batch-divides": (
        {"batch": {"global_batch_size": 30}}, 2,
        "batch.global_batch_size", "multiple of micro_batch_size x data-parallel processes (4 x 2)",
        "global_batch_size: 24 or 32 samples, or micro_batch_size: 3",
    ),
    "ramp-divides": (
        {"batch": {"ramp": {"start": 6, "tokens": "1M"}}}, 2,
        "batch.ramp.start", "(8)", "the smallest valid start is 8 samples",
    ),
    "zero-bf16": ({"parallel": {"zero": 0}}, 1, "parallel.zero", "1, 2 or 3 with bf16", "parallel.zero: 1"),
    "warmup-before-decay": (
        {"schedule": {"warmup": "1M"}}, 1, "schedule.warmup", "below the end of the decay (1,000,000", "10000",
    ),
    "betas": ({"optimizer": {"betas": [0.9, 1.0]}}, 1, "optimizer.betas.1", "[0, 1)", "0.95"),
    "mixture-positive": ({"data": {"mixture": {"a": 0}}}, 1, "data.mixture", "a weight above 0", "web: 60"),
    "weight-stages": (
        {"data": {"stages": [{"from_tokens": 1000, "mixture": {"a": 1}}]}}, 1,
        "data.stages.0.from_tokens", "whole samples of 128 tokens", "896 or 1024",
    ),
    "skip-apart": (
        {"data": {"skip": [{"first_sample": 5, "samples": 10}, {"first_sample": 0, "samples": 10}]}}, 1,
        "data.skip", "overlaps the window that begins at 0", "join the two",
    ),
    "keep-every": ({"checkpoint": {"keep_every": "1 h"}}, 1, "checkpoint.keep_every", "steps or tokens", "tokens"),
    "deepspeed": (
        {"deepspeed": {"zero_optimization": {"stage": 2}}}, 1,
        "deepspeed.zero_optimization.stage", "contradicts the run, which gives 1", "the run's own field",
    ),
}  # fmt: skip


def test_the_table_is_covered() -> None:
    assert set(BROKEN) == {constraint.name for constraint in CONSTRAINTS}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    changes, processes, field, rule, fix = BROKEN[name]
    with pytest.raises(ConfigError) as error:
        check_run(make_run(**changes), processes)
    problem = problem_of(error)
    assert problem.field == field
    assert rule in problem.rule
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("ramp", "fix"),
    [
        ({"start": 8, "increment": 12, "tokens": "1M"}, "increment: 8"),
        ({"start": 32, "tokens": "1M"}, "leave the ramp out"),
    ],
)
def test_other_broken_ramps(ramp: dict[str, Any], fix: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_run(make_run(batch={"ramp": ramp}), 2)
    assert problem_of(error).fix == fix


def test_a_section_of_ours_is_refused_in_the_passthrough() -> None:
    with pytest.raises(ConfigError, match="use optimizer in the YAML"):
        check_run(make_run(deepspeed={"optimizer": {"type": "Adam"}}), 1)


def test_later_weight_stages_must_be_later() -> None:
    stage = {"from_tokens": 1280, "mixture": {"a": 1}}
    with pytest.raises(ConfigError, match="later than the stage before it"):
        check_run(make_run(data={"stages": [stage, stage]}), 1)


def test_valid_runs_pass() -> None:
    for processes in (1, 2, 4, 8):
        check_run(make_run(batch={"ramp": {"start": 32 // 2, "tokens": "100k"}, "micro_batch_size": 1}), processes)
