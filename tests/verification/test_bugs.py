"""A verification finds planted bugs and says where: each differs from one process in what its name says."""

from __future__ import annotations

import multiprocessing
import time

import pytest

from pretrain.config.load import load_run
from pretrain.verification.processes import Before
from pretrain.verification.verify import Outcome, make_plan, run_plan
from tests.verification import bugs

STEPS = 3


def outcome(layout: str, before: Before | None, *overrides: str) -> Outcome:
    """Of a GPT-3 style run in one layout."""
    plan = make_plan(load_run("quickstart", overrides), [layout], steps=STEPS)
    (only,) = run_plan(plan, before)
    return only


def differing(found: Outcome) -> set[str]:
    """Parameters whose gradient differs."""
    assert found.verdict is not None, found.died
    return {name for name, far in found.verdict.gradients.items() if far > found.tolerance.gradient}


@pytest.mark.parametrize("layout", ["tensor=2", "tensor=2,sequence_parallel=false"])
def test_a_sum_that_is_forgotten(layout: str) -> None:
    found = outcome(layout, bugs.forget_the_sum_of_partial_results)
    assert not found.passed
    assert found.verdict and found.verdict.first_parameter == "embedding.tokens.weight"
    assert found.verdict.first_step == 1


def test_a_wrong_split_of_qkv() -> None:
    found = outcome("tensor=2", bugs.cut_qkv_as_one_matrix)
    assert found.verdict and found.verdict.first_parameter == "embedding.tokens.weight"
    assert found.verdict.first_step == 1


def test_a_tied_gradient_that_is_doubled() -> None:
    found = outcome("pipe=2", bugs.sum_the_tied_gradient_twice)
    assert differing(found) == {"embedding.tokens.weight"}
    assert found.verdict and found.verdict.gradients["embedding.tokens.weight"] == pytest.approx(1.0, rel=1e-3)


def test_a_clip_that_skips_a_stage() -> None:
    found = outcome("pipe=2", bugs.leave_a_stage_out_of_the_norm)
    assert differing(found) == set()
    assert found.verdict and found.verdict.first_step == 1
    assert found.verdict.norm > 1e-2


def test_masked_tokens_averaged_per_micro_batch() -> None:
    found = outcome("data=2", bugs.average_each_micro_batch, "data.document_mask=true")
    assert found.verdict and found.verdict.first_parameter == "embedding.tokens.weight"


def test_without_masked_documents_that_average_is_right() -> None:
    assert outcome("data=2", bugs.average_each_micro_batch).passed


def test_gradients_of_the_other_tokens_that_are_forgotten() -> None:
    found = outcome("tensor=2", bugs.forget_the_other_tokens)
    assert found.verdict and found.verdict.first_parameter == "blocks.0.attention_norm.weight"
    whole = ("norm.weight", "norm.bias", "out.bias", "down.bias")
    assert all(name.endswith(whole) for name in differing(found))


def test_a_rank_that_dies_is_told_and_takes_the_others_along() -> None:
    started = time.monotonic()
    found = outcome("data=2", bugs.die_on_the_second_rank)
    assert not found.passed
    assert "rank 1 ended with exit code 1" in found.died
    assert "RuntimeError: the second rank has a problem" in found.died
    assert time.monotonic() - started < 60
    assert not multiprocessing.active_children()
