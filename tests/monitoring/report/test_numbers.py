"""Units, time, mixture, events and places: what the figures are drawn from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pretrain.monitoring.report.axes import apart, plain_number
from pretrain.monitoring.report.budget import budget, gaps, lost_steps
from pretrain.monitoring.report.read import RunRecord, read_run
from pretrain.monitoring.report.scale import Scale, bytes_per_token, scale_of
from pretrain.monitoring.report.sections.events import happened
from pretrain.monitoring.report.sections.mixture import planned, planned_tokens
from pretrain.monitoring.report.sections.summary import state
from tests.monitoring.report.runs import CONFIG, attempt_rows, make_run, rows, train_row, write


def test_bits_per_byte_of_a_batch_follow_its_sources(tmp_path: Path) -> None:
    run, bits, nats = read_run(make_run(tmp_path / "run")), Scale(True), Scale(False)
    assert bytes_per_token(run, "web") == pytest.approx(4) and bytes_per_token(run) == pytest.approx(3)
    expected = (4 + 1 / 2) / math.log(2) / (0.75 * 4 + 0.25 * 2)
    assert bits.train(run)[1] == pytest.approx(expected) and nats.train(run)[1] == 4.5
    assert bits.train(run, "books")[1] == pytest.approx(4.125 / math.log(2) / 2)
    assert bits.validation(run)[-1] == pytest.approx(4.15 / math.log(2) / 3)
    assert bits.baselines(run) == pytest.approx({"unigram": 6.5 / math.log(2) / 3, "bigram": 4.25 / math.log(2) / 3})
    assert nats.baselines(run) == {"unigram": 6.5, "bigram": 4.25}


def test_without_a_validation_bits_are_not_known(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", steps=4))
    assert np.isnan(Scale(True).train(run)).all() and math.isnan(Scale(True).baselines(run)["bigram"])


@pytest.mark.parametrize(
    ("one", "other", "bits"),
    [
        ((512, "a"), (512, "a"), False),
        ((512, "a"), (512, "b"), True),
        ((512, None), (1024, None), True),
        ((512, "a"), (512, None), False),
        ((512, "a"), (None, None), False),
    ],
)
def test_vocabularies_decide_the_unit(one: tuple[Any, Any], other: tuple[Any, Any], bits: bool) -> None:
    def run(size: int | None, fingerprint: str | None) -> RunRecord:
        saved = {"tokenizer_fingerprint": fingerprint} if fingerprint else {}
        return RunRecord(Path(), "", config={"model": {"vocab_size": size}}, saved=saved)

    assert scale_of([run(*one), run(*other)]).bits is bits


def test_where_the_time_went(tmp_path: Path) -> None:
    """20 steps of 2 s in two attempts; the second began 4 steps back, 10 s after the end of the first."""
    text = attempt_rows((1000.0, 1030.0, 0, 14, "failed"), (1040.0, 1075.0, 10, 20, "finished"))
    run = read_run(make_run(tmp_path / "run", attempts_jsonl=text))
    found = budget(run)
    assert found.parts == {
        "steps": 30.0,
        "data wait": 10.0,
        "validation": 4.0,
        "checkpoints": 0.0,
        "done again": 8.0,
        "between attempts": 10.0,
        "the rest": 13.0,
    }
    assert (found.whole, found.lost) == (75.0, 28.0) and (lost_steps(run), gaps(run)) == ([4, 0], [10.0, None])


def test_an_end_that_nobody_wrote(tmp_path: Path) -> None:
    """Of 40 s ten steps of 2 s and two validations of 1 s are left."""
    first, _, *second = attempt_rows((1000.0, 0.0, 0, 0, ""), (1040.0, 1075.0, 10, 20, "finished")).splitlines()
    run = read_run(make_run(tmp_path / "run", attempts_jsonl="\n".join([first, *second]) + "\n"))
    assert (lost_steps(run), gaps(run)) == ([0, 0], [18.0, None])
    assert budget(run).parts["between attempts"] == 18


def test_a_row_stands_for_the_steps_since_the_last(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    write(tmp_path / "run" / "metrics.jsonl", [train_row(step, 4.0) for step in (10, 20, 30)])
    found = budget(read_run(tmp_path / "run"))
    assert found.parts["steps"] == 45 and found.parts["data wait"] == 15 and found.whole is None


def test_planned_and_served(tmp_path: Path) -> None:
    stages = planned(read_run(make_run(tmp_path / "run")))
    assert stages == [(0, {"web": 0.75, "books": 0.25}), (1000, {"web": 0.5, "books": 0.5})]
    assert [planned_tokens(stages, "web", tokens) for tokens in (400, 1000, 2000)] == [300, 750, 1250]
    assert planned_tokens(stages, "none", 2000) == 0


def test_a_checkpoint_knows_the_plan_better(tmp_path: Path) -> None:
    plan = {"sources": ["web", "books"], "sequence_length": 10}
    plan |= {"stages": [{"first_sample": 0, "weights": [1, 0]}, {"first_sample": 7, "weights": [1, 3]}]}
    run = RunRecord(Path(), "", config=CONFIG, saved={"plan": plan})
    assert planned(run) == [(0, {"web": 1, "books": 0}), (70, {"web": 0.25, "books": 0.75})]
    assert planned(RunRecord(Path(), "")) == []


def test_events(tmp_path: Path) -> None:
    messages = {
        3: "the loss is 9, a spike: z-score 9.0 against the last 8 steps (median 5) at step 3 (...): training goes on",
        4: "CHECKPOINT FAILED, training goes on: disk full",
        5: "rank 3 on node2 is slow: 1.40 times the median",
        6: "the gradient norm is nan at step 9 (...): back to step-00000006, without samples 1 to 2",
        7: "going on from runs/one/checkpoints/step-00000006",
    }
    window = {"first_sample": 1, "samples": 2, "step": 9, "to_step": 6, "why": {}, "message": messages[6]}
    skipped = json.dumps({"format_version": 1, "windows": [window]})
    attempts = attempt_rows((1.0, 2.0, 0, 8, "failed"), (3.0, 4.0, 6, 20, "finished"))
    make_run(tmp_path / "run", skipped_json=skipped, attempts_jsonl=attempts)
    told = [{"kind": "event", "step": step, "tokens": 100 * step, "message": text} for step, text in messages.items()]
    write(tmp_path / "run" / "metrics.jsonl", [*rows(20), *told, train_row(21, 4.0, left_out=1)])
    assert happened(read_run(tmp_path / "run")) == {
        "restart": [600],
        "spike or NaN": [300, 900],
        "rollback": [600],
        "update left out": [2100],
        "checkpoint failed": [400],
        "slow rank": [500],
        "checkpoint": [],
    }


def test_states(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run"))
    assert state(run) == "ended, nobody wrote how" and state(RunRecord(Path(), "")) == "not started"
    run.running = True
    assert state(run) == "running, step 20" and state(RunRecord(Path(), "", running=True)) == "starting"
    text = attempt_rows((1000.0, 1030.0, 0, 14, "failed"))
    assert state(read_run(make_run(tmp_path / "failed", attempts_jsonl=text))) == "failed"


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([0.5], [0.5]),
        ([0.1, 0.9], [0.1, 0.9]),
        ([0.5, 0.5, 0.5], [0.5, 0.6, 0.7]),
        ([0.95, 0.97], [0.9, 1.0]),
        ([-3, 7], [0, 1]),
        ([], []),
    ],
)
def test_names_do_not_lie_over_each_other(places: list[float], expected: list[float]) -> None:
    assert apart(places, 0.1) == pytest.approx(expected)


def test_numbers_on_axes() -> None:
    assert list(map(plain_number, (0, 1e-20, 0.002, 0.25, 40, 12_000))) == ["0", "0", "0.002", "0.25", "40", "12k"]
