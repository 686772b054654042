"""Learning rates by hand."""

from itertools import pairwise
from typing import Any

import pytest

from pretrain.config.errors import ConfigError
from pretrain.config.schedule import Schedule
from pretrain.training.schedule import learning_rate
from pretrain.training.schedule_table import schedule_rows, schedule_text
from tests.config.example import make_run, problem_of


@pytest.mark.parametrize(
    ("schedule", "tokens", "rate"),
    [
        ({"warmup": 1000}, 1, 1e-6),
        ({"warmup": 1000}, 500, 5e-4),
        ({"warmup": 1000}, 1000, 1e-3),
        ({"warmup": 1000, "decay": 5000}, 3000, 0.55e-3),  # half way down from 1 to 0.1
        ({"warmup": 1000, "decay": 5000}, 2000, 1e-3 * (0.1 + 0.9 * 0.8535533905932737)),  # (1 + cos 45 deg) / 2
        ({"warmup": 1000, "decay": 5000}, 5000, 1e-4),
        ({"warmup": 1000, "decay": 5000}, 900_000, 1e-4),
        ({"warmup": 0}, 1_000_000, 1e-4),  # without `decay` the cosine ends with the run
        ({"warmup": 1000, "decay": 5000, "min_ratio": 0.0}, 5000, 0.0),
        ({"name": "constant", "warmup": 1000}, 500, 5e-4),
        ({"name": "constant", "warmup": 1000}, 900_000, 1e-3),
        ({"name": "linear", "warmup": 1000, "decay": 5000}, 2000, 0.775e-3),  # a quarter of the way from 1 to 0.1
        ({"name": "linear", "warmup": 1000, "decay": 5000}, 6000, 1e-4),
        ({"name": "inverse_sqrt", "warmup": 10_000}, 10_000, 1e-3),
        ({"name": "inverse_sqrt", "warmup": 10_000}, 40_000, 0.5e-3),  # Vaswani et al.: sqrt(10,000 / 40,000)
        ({"name": "inverse_sqrt", "warmup": 10_000, "timescale": 30_000}, 100_000, 0.5e-3),  # 1 / sqrt(1 + 90 / 30)
        ({"name": "inverse_sqrt", "timescale": 50_000}, 150_000, 0.5e-3),
        ({"name": "wsd", "warmup": 1000}, 500, 5e-4),
        ({"name": "wsd"}, 900_000, 1e-3),  # a tenth of the 1,000,000 tokens is left
        ({"name": "wsd"}, 925_000, 0.75e-3),
        ({"name": "wsd"}, 1_000_000, 0.0),
        ({"name": "wsd"}, 1_000_064, 0.0),  # the last step may go beyond
        ({"name": "wsd", "cooldown": 200_000, "cooldown_ratio": 0.2}, 900_000, 0.6e-3),
        ({"name": "wsd", "cooldown_shape": "sqrt"}, 925_000, 0.5e-3),  # 1 - sqrt(1 / 4)
        ({"name": "wsd", "cooldown_shape": "cosine"}, 925_000, 0.8535533905932737e-3),  # (1 + cos 45 deg) / 2
        ({"name": "wsd", "cooldown_shape": "exponential", "cooldown_ratio": 0.01}, 950_000, 1e-4),  # 0.01 ^ (1 / 2)
        ({"name": "constant", "cooldown": 100_000}, 950_000, 0.5e-3),
        ({"name": "cosine", "decay": 500_000, "cooldown": 100_000}, 950_000, 0.05e-3),  # from 0.1 half way to 0
        ({"name": "inverse_sqrt", "timescale": 100_000, "cooldown": 200_000}, 900_000, 1e-3 / 6),  # from 1 / 3
    ],
)
def test_by_hand(schedule: dict[str, Any], tokens: int, rate: float) -> None:
    assert learning_rate(make_run(schedule=schedule), tokens) == pytest.approx(rate, rel=1e-12)


def test_gpt3s_schedule() -> None:
    """Brown et al. 2020, Appendix B: warm-up over 375M tokens, cosine to 10% over 260B tokens."""
    run = make_run(
        train={"tokens": "300B"}, optimizer={"learning_rate": 0.6e-4}, schedule={"warmup": "375M", "decay": "260B"}
    )
    assert learning_rate(run, 375_000_000) == 0.6e-4
    assert learning_rate(run, 260_000_000_000) == pytest.approx(0.6e-5)
    assert learning_rate(run, 300_000_000_000) == pytest.approx(0.6e-5)


def test_a_schedule_is_continuous_but_for_its_steps() -> None:
    """Between two neighbouring tokens nothing jumps, at the corners neither."""
    for name in ("cosine", "linear", "inverse_sqrt", "constant", "wsd"):
        run = make_run(schedule={"name": name, "warmup": 50_000, "cooldown": 100_000})
        rates = [learning_rate(run, tokens) for tokens in range(0, 1_000_001, 100)]
        assert max(abs(a - b) for a, b in pairwise(rates)) < 1e-3 * 100 / 40_000
        assert (rates[0], max(rates), rates[-1]) == (0.0, 1e-3, 0.0)


@pytest.mark.parametrize(
    ("schedule", "rule"),
    [
        ({"name": "constant", "decay": "1M"}, "decay is for schedules cosine, linear, this is constant"),
        ({"name": "wsd", "min_ratio": 0.0}, "min_ratio is for schedules cosine, linear, this is wsd"),
        ({"timescale": "1M"}, "timescale is for schedules inverse_sqrt, this is cosine"),
    ],
)
def test_fields_of_another_course_are_refused(schedule: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_run(schedule=schedule)
    assert problem_of(error).rule == rule


def test_only_what_a_course_has_is_written() -> None:
    """And read again: what a checkpoint holds of a run."""
    schedule = Schedule.parse({"name": "wsd", "warmup": 10})
    assert schedule.plain() == {
        "name": "wsd", "warmup": 10, "cooldown": None, "cooldown_shape": "linear", "cooldown_ratio": 0.0
    }  # fmt: skip
    assert Schedule.parse(schedule.plain()) == schedule
    old = {"name": "constant", "warmup": 0, "decay": None, "min_ratio": 0.1}  # as version 4 of the state wrote it
    assert Schedule.parse(old).name == "constant"


def test_the_table_shows_the_corners() -> None:
    """A ramp of two sizes; the corners of the schedule are rows, whatever number of rows was asked for."""
    run = make_run(
        train={"tokens": 128 * 3200},
        batch={"ramp": {"start": 16, "tokens": 128 * 320}},
        schedule={"name": "wsd", "warmup": 128 * 640, "cooldown": 128 * 1600},
    )
    rows = list(schedule_rows(run, 2))
    assert [(row.tokens // 128, row.step, row.batch, round(row.rate * 1e6)) for row in rows] == [
        (16, 1, 16, 25),
        (352, 21, 32, 550),
        (640, 30, 32, 1000),
        (1600, 60, 32, 1000),
        (3200, 110, 32, 0),
    ]
    first, *_, last = schedule_text(iter(rows), 1e-3).splitlines()[1:]
    assert first == "   2.05k          1      16      2.500e-05  #"
    assert last == "    410k        110      32      0.000e+00"
