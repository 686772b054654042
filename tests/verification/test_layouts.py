"""Which layouts a verification runs, and what they are called."""

from __future__ import annotations

import pytest

from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run
from pretrain.config.precision import LossScale
from pretrain.verification.layouts import parse_spec, reference
from pretrain.verification.verify import Plan, make_plan


def names(plan: Plan) -> list[str]:
    return [trial.name for trial in plan.trials]


def plan_of(name: str, *overrides: str, **options: object) -> Plan:
    return make_plan(load_run(name, overrides), **options)  # type: ignore[arg-type]


def test_all_axes_with_each_alone_and_bf16() -> None:
    assert names(plan_of("gpt3-1.3b")) == [
        "pipe2-data2-tensor2-zero1-1f1b",
        "pipe2-zero1-1f1b",
        "tensor2-zero1",
        "data2-zero1",
        "pipe2-data2-tensor2-zero1-1f1b-bf16",
    ]


def test_a_run_in_fp16_has_its_format_once_more() -> None:
    """With a loss scale that never moves: a step that is left out is not compared."""
    *others, last = plan_of("gpt3-1.3b", "precision.compute=fp16", "train.z_loss=1e-4").trials
    assert last.name == "pipe2-data2-tensor2-zero1-1f1b-fp16" and all(t.run.precision.scaling is None for t in others)
    assert last.run.precision.scaling == LossScale(initial=1024, minimum=1024) and last.run.train.z_loss == 1e-4
    assert reference(last.run, "fp16").name == "zero1-fp16"


def test_data_alone_has_the_other_axes_and_zero_3() -> None:
    assert names(plan_of("quickstart")) == ["data2-zero1", "pipe2-zero1-1f1b", "tensor2-zero1", "data2-zero3"]


def test_all_neighbours() -> None:
    assert names(plan_of("quickstart", every=True)) == [
        "data2-zero1",
        "pipe2-zero1-1f1b",
        "tensor2-zero1",
        "data2-zero3",
        "data2-zero2",
        "data2-zero0",
        "pipe2-zero1-dualpipev",
        "tensor2-zero1-unsplit",
    ]


def test_what_saves_memory_is_kept() -> None:
    plan = plan_of("llama-7b", "parallel={tensor: 4, zero: 3, recompute: full, offload: all, sequence_parallel: false}")
    assert names(plan)[:3] == [
        "data2-tensor2-zero3-unsplit-full-allhosted",
        "pipe2-zero1-1f1b-full-hosted",
        "tensor2-zero3-unsplit-full-allhosted",
    ]


def test_neighbours_that_break_a_rule_are_left_out() -> None:
    assert names(plan_of("quickstart", "model.heads=1", "model.layers=1", every=True)) == [
        "data2-zero1",
        "data2-zero3",
        "data2-zero2",
        "data2-zero0",
    ]


def test_fewer_processes_leave_axes_out() -> None:
    assert names(plan_of("gpt3-1.3b", processes=4))[0] == "pipe2-tensor2-zero1-1f1b"
    assert names(plan_of("gpt3-1.3b", processes=2))[0] == "tensor2-zero1"
    assert names(plan_of("quickstart", processes=1)) == ["zero1"]


def test_auto_may_choose_any_axis() -> None:
    assert names(plan_of("quickstart", "parallel=auto"))[0] == "pipe2-data2-tensor2-zero1-1f1b"
    assert names(plan_of("quickstart", "parallel=auto", "parallel.zero=3"))[0] == "data2-tensor2-zero3"


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("tensor=2,pipe=2", "pipe2-tensor2-zero1-1f1b"),
        ("data=2,zero=3", "data2-zero3"),
        ("pipe=2,schedule=dualpipev", "pipe2-zero1-dualpipev"),
        ("tensor=2,sequence_parallel=false,precision=bf16", "tensor2-zero1-unsplit-bf16"),
        ("precision=fp16,data=2", "data2-zero1-fp16"),
        ("recompute=full,recompute_every=2", "zero1-full-every2"),
        ("offload=optimizer,data=2", "data2-zero1-hosted"),
    ],
)
def test_a_layout_by_its_fields_and_by_its_name(spec: str, name: str) -> None:
    assert names(plan_of("quickstart", specs=[spec])) == [name]
    assert names(plan_of("quickstart", specs=[name])) == [name]


@pytest.mark.parametrize(
    ("spec", "field", "fix"),
    [
        ("pipe=2,zero=3", "parallel.zero of the scaled run on pipe2-zero3-1f1b", "parallel.zero: 1"),
        ("tensor=8", "parallel.tensor of the scaled run on tensor8-zero1", "parallel.tensor: 4"),
        ("data=16", "--layout", "--processes 16"),
        ("foo2", "--layout", "tensor=2,pipe=2"),
        ("data=two", "--layout data", "data=2"),
        ("tensr=2", "parallel.tensr", "tensor"),
    ],
)
def test_a_layout_that_cannot_be(spec: str, field: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of("quickstart", specs=[spec])
    assert caught.value.problems[0].field == field
    assert fix in caught.value.problems[0].fix


def test_a_run_that_breaks_a_rule_is_refused_as_it_is() -> None:
    with pytest.raises(ConfigError, match=r"parallel.tensor = 3\n"):
        plan_of("gpt3-1.3b", "parallel.tensor=3")
    assert parse_spec("zero1") == {"zero": 1}


def test_one_process_has_zero_only_where_bf16_needs_it() -> None:
    small = plan_of("gpt3-1.3b").small
    assert (reference(small, "fp32").name, reference(small, "bf16").name) == ("zero0", "zero1-bf16")
    assert reference(small, "fp32").run.batch.micro_batch_size == 8


@pytest.mark.parametrize(
    ("spec", "samples"),
    [
        ("tensor=2", 4),
        ("data=2", 2),
        ("data=8", 1),
        ("pipe=2", 2),
        ("pipe=2,data=2", 2),
        ("pipe=4", 1),
        ("pipe=2,schedule=dualpipev", 2),
        ("pipe=2,data=2,schedule=dualpipev", 1),
    ],
)
def test_micro_batches(spec: str, samples: int) -> None:
    (trial,) = plan_of("quickstart", specs=[spec]).trials
    assert trial.run.batch.micro_batch_size == samples
