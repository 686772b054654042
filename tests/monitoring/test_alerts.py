"""What rules tell, and how often."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pretrain.config.alerts import Alert
from pretrain.config.errors import ConfigError
from pretrain.monitoring.alerts import Alerts
from pretrain.monitoring.metrics import Kind, Row


class Told:
    """Alerts that write down what they tell, with a clock that is set by hand."""

    def __init__(self, *rules: dict[str, Any]) -> None:
        self.now, self.said = 0.0, list[tuple[int, str]]()
        self.alerts = Alerts([Alert.parse(rule) for rule in rules], self._tell, lambda: self.now)

    def _tell(self, row: Row, rule: str, message: str) -> None:
        self.said.append((int(row["step"]), message))

    def rows(self, name: str, *values: float, kind: Kind = "train", first: int = 1) -> list[tuple[int, str]]:
        """What was told about values of a number in steps from `first` on, a minute apart."""
        for step, value in enumerate(values, start=first):
            self.now += 60
            self.alerts.write(kind, {"step": step, "tokens": step, name: value, "word": "x"})
        said, self.said = self.said, []
        return said


def test_once_until_it_clears() -> None:
    told = Told({"metric": "loss", "above": 10, "at_most_every": 0})
    assert told.rows("loss", 9, 11, 12, 10, 13.5) == [
        (2, "loss is 11, above 10"),
        (5, "loss is 13.5, above 10"),
    ]


def test_not_more_often_than_asked() -> None:
    """Every 3 minutes: the breach of step 4 is told when it is still there at step 5."""
    told = Told({"metric": "loss", "above": 10, "at_most_every": "3 min"})
    assert [step for step, _ in told.rows("loss", 9, 11, 9, 11, 11, 11, 9)] == [2, 5]


def test_for_steps() -> None:
    """Rows of every second step: so for 5 steps are three rows."""
    told = Told({"metric": "mfu", "below": 0.3, "for_steps": 5})
    for step, value in zip(range(2, 20, 2), (0.2, 0.4, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1), strict=True):
        told.alerts.write("train", {"step": step, "tokens": 0, "mfu": value})
    assert told.said == [(10, "mfu is 0.2, below 0.3, for 5 steps")]


def test_against_the_mean_before() -> None:
    """Not before there are enough rows; the mean of 2, 4 is 3, and 4.4 is below 1.5 times it."""
    told = Told({"metric": "loss", "above": 1.5, "average_over": 2})
    assert told.rows("loss", 2, 4, 4.4, 6.5) == [(4, "loss is 6.5, above 1.5 times its mean of 2 rows (4.2)")]


def test_what_is_no_number_is_not_in_the_mean() -> None:
    """As grad_norm in a step that overflowed in fp16."""
    rules = [{"metric": "grad_norm", "average_over": 2, **bound} for bound in ({"above": 2}, {"below": 0.5})]
    told = Told(*rules)
    assert told.rows("grad_norm", 1, 1, math.nan, 1, 3) == [
        (5, "grad_norm is 3, above 2 times its mean of 2 rows (1)"),
    ]
    told = Told(*rules)
    assert told.rows("grad_norm", 1, 1, math.inf, 1) == [
        (3, "grad_norm is inf, above 2 times its mean of 2 rows (1)"),
    ]


def test_each_number_of_a_pattern_for_itself() -> None:
    told = Told({"metric": "inside/activation_max/*", "above": 100})
    (said,) = told.rows("activation_max/blocks.0", 50, 200, kind="inside")
    assert said == (2, "inside/activation_max/blocks.0 is 200, above 100")
    assert told.rows("activation_max/blocks.1", 200, kind="inside")
    assert told.rows("activation_max/blocks.1", 200, kind="train") == []


def test_happenings() -> None:
    told = Told({"event": ["spike", "ended"]})

    def happen(what: str, at: float) -> int:
        told.now, told.said = at, []
        told.alerts.write("event", {"step": 7, "tokens": 1, "message": "so it was", **({"what": what} if what else {})})
        return len(told.said)

    assert (happen("spike", 0), happen("spike", 60), happen("ended", 61)) == (1, 0, 1)
    assert (happen("rollback", 62), happen("", 63), happen("spike", 601)) == (0, 0, 1)
    assert told.said == [(7, "so it was")]


def test_a_rollback_forgets() -> None:
    told = Told({"metric": "loss", "above": 10, "for_steps": 2})
    assert told.rows("loss", 11) == []
    told.alerts.rewind(0)
    assert told.rows("loss", 11, first=2) == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "needs either `metric` or `event`"),
        ({"metric": "loss"}, "needs a bound for loss"),
        ({"metric": "loss", "above": 1, "event": "spike"}, "needs either"),
        ({"event": "spike", "above": 1}, "bounds need a `metric`"),
        ({"event": "spkie"}, "'spike'"),
        ({"metric": "loss", "above": math.nan}, "finite number"),
        ({"metric": "loss", "abov": 1}, "did you mean 'above'?"),
        ({"metric": "loss", "above": 1, "average_over": 1}, "greater than or equal to 2"),
    ],
)
def test_bad_rules(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", "\\?")):
        Alert.parse(rule)
