"""What is a spike: z-scores and verdicts as literal numbers."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from pretrain.config.errors import ConfigError
from pretrain.config.spikes import Spikes
from pretrain.resilience.spikes import Finding, History, judge, z_score

WINDOW = (2.0, 2.1, 1.9, 2.2, 1.8, 2.05, 1.95, 2.3)
"""Median 2.025; deviations 0.025, 0.075, 0.125, 0.175, 0.225, 0.025, 0.075, 0.275, of which the median is 0.1."""


def config(**changes: Any) -> Spikes:
    return Spikes.parse({"window": 8, "warmup": 8, "loss": 6, "grad_norm": 10, **changes})


def test_z_score_by_hand() -> None:
    assert z_score(3.025, WINDOW) == pytest.approx(6.745)  # 0.6745 x 1 / 0.1
    assert z_score(2.025, WINDOW) == 0.0
    assert z_score(1.025, WINDOW) == pytest.approx(-6.745)


def test_z_score_where_most_of_the_window_is_equal() -> None:
    """MAD is 0; the mean absolute deviation of 1, 1, 1, 1, 2 is 0.2: z = 1 / (1.253314 x 0.2)."""
    assert z_score(2.0, (1.0, 1.0, 1.0, 1.0, 2.0)) == pytest.approx(3.98942, abs=1e-5)
    assert z_score(1.5, (1.0,) * 8) == math.inf and z_score(1.0, (1.0,) * 8) == 0.0


@pytest.mark.parametrize(
    ("loss", "norm", "quantity"),
    [
        (2.9, 1.0, None),  # z 5.90
        (2.92, 1.0, "loss"),  # z 6.04
        (0.1, 1.0, None),  # one-sided
        (2.0, 3.5, None),  # z 9.95: the norm has its own limit
        (2.0, 3.52, "grad_norm"),  # z 10.08
        (9.0, 9.0, "loss"),
        (math.nan, 9.0, "loss"),
        (9.0, math.inf, "grad_norm"),  # what is no number comes before a spike
    ],
)
def test_verdicts(loss: float, norm: float, quantity: str | None) -> None:
    verdict = judge(History(WINDOW, WINDOW), loss, norm, config())
    assert (verdict.finding.quantity if verdict.finding else None) == quantity


def test_nothing_is_called_a_spike_before_the_warm_up_but_what_is_no_number() -> None:
    history = History(WINDOW[:7], WINDOW[:7])
    assert judge(history, 1e9, 1e9, config()).finding is None
    assert judge(history, math.inf, 1.0, config()).finding == Finding("loss", math.inf)


def test_the_window_holds_the_last_steps_without_the_spikes() -> None:
    history = judge(History(WINDOW, WINDOW), 2.4, 2.5, config()).history
    assert history.losses == (*WINDOW[1:], 2.4) and history.norms == (*WINDOW[1:], 2.5)
    spiked = judge(history, 9.0, 1.0, config()).history
    assert (spiked.losses, spiked.norms, spiked.in_a_row) == (history.losses, history.norms, 1)
    assert judge(spiked, 2.0, 2.0, config()).history.in_a_row == 0


def test_spikes_that_stay_are_a_new_level() -> None:
    history, found = History(WINDOW, WINDOW), []
    for _ in range(12):
        verdict = judge(history, 5.0, 2.0, config(patience=3))
        history, found = verdict.history, [*found, verdict.finding is not None]
    assert found == [True] * 3 + [False] * 9


def test_policies_and_their_limit() -> None:
    history = History(WINDOW, WINDOW)
    settings = config(spike="skip", nan="rollback", limit=2)
    assert judge(history, 2.0, 2.0, settings).updates
    assert judge(history, 9.0, 2.0, config()).updates, "record is the default"
    first = judge(history, 9.0, 2.0, settings)
    assert (first.action, first.updates, first.history.left_out) == ("skip", False, 1)
    assert judge(first.history, math.nan, 2.0, settings).action == "rollback"
    full = History(WINDOW, WINDOW, left_out=1, rollbacks=1)
    last = judge(full, 9.0, 2.0, settings)
    assert (last.action, last.history.left_out) == ("stop", 1) and "limit, 2 times, is reached" in last.note
    assert judge(history, math.nan, 2.0, config()).action == "stop", "the default"


def test_a_history_survives_json() -> None:
    history = History(WINDOW, (0.1 + 0.2,), 2, 3, 4)
    assert History.from_plain(json.loads(json.dumps(history.plain()))) == history
    assert History.from_plain({}) == History()


def test_what_is_said() -> None:
    assert str(Finding("loss", 9.3123, 14.21, 3.1, 128)) == (
        "the loss is 9.312, a spike: z-score 14.2 against the last 128 steps (median 3.1)"
    )
    assert str(Finding("grad_norm", math.nan)) == "the gradient norm is nan"
    assert json.loads(json.dumps(Finding("loss", math.nan).plain()))["value"] == "nan"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"nan": "record"}, "'skip', 'rollback' or 'stop'"),
        ({"warmup": 9}, r"warmup \(9\) must not exceed window \(8\)"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        config(**changes)
