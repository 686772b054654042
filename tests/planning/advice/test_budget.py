"""Budgets as people write them; the speed of Narayanan et al. 2021, section 5.1."""

import pytest

from pretrain.config.errors import ConfigError
from pretrain.planning.advice.budget import Budget, Gpus, Utilisation, gpu_days, parse_budget

PEAKS = {"A100": 312.0, "H100": 989.4, "RTX4090": 165.2}
"""TFLOP/s."""


def parse(text: str) -> Budget:
    return parse_budget(text, PEAKS.__getitem__)


def test_gpt3_takes_34_days_on_1024_a100() -> None:
    """8 T P / (n X) = 8 x 300e9 x 175e9 / (1024 x 140e12) s = 33.9 days."""
    budget = parse("1024xA100x34d")
    assert budget.days(6 * 175e9 * 300e9) == pytest.approx(33.91, abs=0.01)
    assert budget.flops == pytest.approx(1024 * 140e12 * 34 * 86400 * 6 / 8)


def test_gpt3_is_3640_pf_days() -> None:
    """Brown et al. 2020, Table D.1: 3.14E+23 FLOPs, 3.64E+03 PF-days."""
    assert parse("3.14e23").pf_days == pytest.approx(3640, rel=2e-3)
    assert parse("3640 PF-days").flops == pytest.approx(3.14e23, rel=2e-3)


@pytest.mark.parametrize(
    ("text", "number", "name", "days"),
    [
        ("512xH100x12h", 512, "H100", 0.5),
        ("8xRTX4090x2w", 8, "RTX4090", 14),
        ("1,024 x A100 x 1.5 weeks", 1024, "A100", 10.5),
        ("1*A100*1 day", 1, "A100", 1),
        ("2xA100x48hours", 2, "A100", 2),
    ],
)
def test_gpus_for_a_time(text: str, number: int, name: str, days: float) -> None:
    assert parse(text).gpus == Gpus(number, name, days, PEAKS[name])


@pytest.mark.parametrize("text", ["1e24", "1e24 FLOPs", " 1.0E+24 flop ", "1_000_000e18", "1,000,000e18FLOPs"])
def test_flops(text: str) -> None:
    budget = parse(text)
    assert budget.flops == 1e24
    assert budget.gpus is None
    assert budget.days(1e24) is None


@pytest.mark.parametrize("text", ["10 PF-days", "10PF-day", "10 pflop/s-days", "1e1 petaflop/s-days"])
def test_pf_days(text: str) -> None:
    assert parse(text).flops == 8.64e20


def test_without_recompute_a_third_more_is_done() -> None:
    faster = parse_budget("1xA100x1d", PEAKS.__getitem__, Utilisation(0.5, recompute=False))
    assert faster.flops == pytest.approx(312e12 * 0.5 * 86400)
    assert faster.flops == pytest.approx(
        4 / 3 * parse_budget("1xA100x1d", PEAKS.__getitem__, Utilisation(0.5, recompute=True)).flops
    )


def test_days_of_one_gpu() -> None:
    """312 TFLOP/s for a day are 2.696e19; a third of it is model FLOPs."""
    assert gpu_days(2.69568e19, Utilisation(4 / 9, recompute=True)) == pytest.approx(3)
    assert gpu_days(2.69568e19, Utilisation(1, recompute=False), peak=624) == pytest.approx(0.5)
    assert parse("1e24").a100_days(1e24) == pytest.approx(110_229, abs=1)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must be GPUs x name x time"),
        ("much", "must be GPUs x name x time"),
        ("nan", "must be GPUs x name x time"),
        ("1024xA100", "must be GPUs x name x time"),
        ("-1e24", "must be GPUs x name x time"),
        ("0xA100x34d", "1 to 1,000,000 GPUs, not 0"),
        ("-8xA100x34d", "1 to 1,000,000 GPUs, not -8"),
        ("2000000xA100x34d", "1 to 1,000,000 GPUs, not 2,000,000"),
        ("1024xA100x0d", "a time above 0 and of at most 3650 days, not 0d"),
        ("1024xA100x-3d", "a time above 0 and of at most 3650 days, not -3d"),
        ("1024xA100x600w", "a time above 0 and of at most 3650 days, not 600w"),
        ("1024xA100x3m", "a time in 'm'; known are hours, days and weeks"),
        ("1024xB999x34d", "names a GPU, 'B999', whose speed is not known"),
        ("0", "must be 1e+15 to 1e+30 FLOPs, this is 0"),
        ("34", "must be 1e+15 to 1e+30 FLOPs, this is 34"),
        ("1e999", "must be 1e+15 to 1e+30 FLOPs, this is inf"),
        ("1e30 PF-days", "must be 1e+15 to 1e+30 FLOPs, this is 8.64e+49"),
        ("9" * 5000 + "xA100x1d", "must be GPUs x name x time"),
    ],
)
def test_bad_budgets(text: str, rule: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text)
    (problem,) = error.value.problems
    assert problem.field == "--budget"
    assert problem.value == text
    assert rule in problem.rule
    assert "1024xA100x34d" in problem.fix


@pytest.mark.parametrize("share", [0, -0.1, 1.01, 45, float("nan")])
def test_bad_utilisation(share: float) -> None:
    with pytest.raises(ConfigError, match="--utilisation"):
        parse_budget("1e24", PEAKS.__getitem__, Utilisation(share))
