"""The measure: literal results in, literal verdicts out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pretrain.config.load import load_run
from pretrain.verification.compare import BF16, FP32, compare
from pretrain.verification.report import cells, closing_line, failure_lines, plain
from pretrain.verification.result import Result
from pretrain.verification.verify import Outcome, make_plan


def result(losses: object, norms: object, **gradients: list[float]) -> Result:
    arrays = {name: np.array(values, dtype=np.float32) for name, values in gradients.items()}
    return Result(np.array(losses, dtype=np.float64), np.array(norms, dtype=np.float64), arrays)


ONE = result([[5.0, 4.0]], [[2.0, 1.0]], a=[1.0, -4.0], b=[0.5, 0.0], c=[0.0, 0.0])


def test_equal_results_pass() -> None:
    verdict = compare(ONE, ONE, FP32)
    assert verdict.passed
    assert (verdict.loss, verdict.norm, verdict.gradients) == (0.0, 0.0, {"a": 0.0, "b": 0.0, "c": 0.0})


def test_the_largest_differences_over_all_ranks_and_steps() -> None:
    other = result([[5.0, 4.0], [5.0, 4.25]], [[2.0, 1.0], [2.5, 1.0]], a=[1.5, -4.0], b=[0.5, 0.25], c=[0.0, 0.0])
    verdict = compare(ONE, other, FP32)
    assert (verdict.loss, verdict.norm) == (0.25, 0.25)
    assert verdict.gradients == {"a": 0.125, "b": 0.5, "c": 0.0}
    assert (verdict.first_step, verdict.first_parameter, verdict.worst_parameter) == (1, "a", "b")


def test_a_later_step_is_named() -> None:
    verdict = compare(ONE, result([[5.0, 4.00002]], [[2.0, 1.0]], **as_lists()), FP32)
    assert (verdict.first_step, verdict.first_parameter, verdict.passed) == (2, None, False)
    assert compare(ONE, result([[5.0, 4.00002]], [[2.0, 1.0]], **as_lists()), BF16).passed


def test_rounding_passes_also_where_a_gradient_vanishes() -> None:
    other = result([[5.0, 4.0]], [[2.0, 1.0]], a=[1.00001, -4.0], b=[0.5, 1e-6], c=[0.0, 1e-10])
    verdict = compare(ONE, other, FP32)
    assert verdict.passed
    assert verdict.gradients["c"] == pytest.approx(2.5e-5)  # 1e-10 / (1e-6 x 4)


def test_what_is_no_number_fails() -> None:
    other = result([[5.0, np.nan]], [[2.0, 1.0]], a=[1.0, -4.0], b=[np.nan, 0.0], c=[0.0, 0.0])
    verdict = compare(ONE, other, FP32)
    assert (verdict.first_step, verdict.first_parameter, verdict.worst_parameter) == (2, "b", "b")


def as_lists() -> dict[str, list[float]]:
    return {name: gradient.tolist() for name, gradient in ONE.gradients.items()}


def test_what_is_told() -> None:
    plan = make_plan(load_run("quickstart"))
    good = Outcome(plan.trials[0], FP32, 1.25, compare(ONE, ONE, FP32))
    bad = Outcome(plan.trials[1], FP32, 2.0, compare(ONE, result([[5, 4]], [[2, 3]], **as_lists()), FP32))
    dead = Outcome(plan.trials[2], FP32, 3.0, None, "rank 1 ended with exit code 1")
    assert cells(good) == ["data2-zero1", "0.0e+00", "0.0e+00", "0.0e+00", "1.2", "pass"]
    assert cells(bad)[-1] == "FAIL"
    assert cells(dead)[-1] == "DIED"
    assert failure_lines(good) == []
    assert failure_lines(bad)[1:] == [
        "  no gradient of the first step differs",
        "  first step whose loss or norm differs: 2",
    ]
    assert failure_lines(dead) == ["tensor2-zero1: rank 1 ended with exit code 1"]
    assert closing_line([good, bad, dead]) == "1 of 3 layouts give what one process gives"
    told = json.loads(json.dumps(plain(plan, [good, bad, dead])))
    assert [layout["passed"] for layout in told["layouts"]] == [True, False, False]
