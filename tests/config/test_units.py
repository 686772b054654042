"""Counts as people write them."""

import pytest

from pretrain.config.units import BatchSize, Interval, parse_bytes, parse_count, parse_seconds, short, size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("300B", 300_000_000_000),
        ("0.5M", 500_000),
        ("0.5Mi", 524_288),
        ("32k", 32_000),
        ("1.4T", 1_400_000_000_000),
        ("2M tokens", 2_000_000),
        ("524288 tokens", 524_288),
        ("1_000", 1_000),
        ("3e11", 300_000_000_000),
        (2048, 2048),
        (2.0, 2),
    ],
)
def test_counts(text: object, count: int) -> None:
    assert parse_count(text, "tokens") == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2M samples", "has the unit 'samples', expected tokens"),
        ("2MB", "unknown unit 'MB'"),
        ("2.5", "whole number"),
        ("-3", "must be a count"),
        ("many", "must be a count"),
        (True, "not bool"),
        (None, "not NoneType"),
    ],
)
def test_wrong_counts(text: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_count(text, "tokens")


@pytest.mark.parametrize(
    ("text", "seconds"), [("30 min", 1800), ("12h", 43_200), ("2 days", 172_800), ("90 s", 90), (5, 5)]
)
def test_seconds(text: object, seconds: float) -> None:
    assert parse_seconds(text) == seconds


def test_wrong_seconds() -> None:
    with pytest.raises(ValueError, match="must be a time such as"):
        parse_seconds("30 tokens")


@pytest.mark.parametrize(("text", "size"), [("512MB", 512_000_000), ("2 GiB", 2_147_483_648), ("64k", 64_000), (7, 7)])
def test_bytes(text: object, size: int) -> None:
    assert parse_bytes(text) == size


def test_batch_sizes() -> None:
    assert BatchSize.model_validate("256").samples(2048) == 256
    assert BatchSize.model_validate("256 samples").samples(2048) == 256
    assert BatchSize.model_validate("0.5Mi").samples(2048) == 256
    assert BatchSize.model_validate("4194304 tokens").samples(2048) == 2048
    with pytest.raises(ValueError, match=r"244.14 samples .*244 samples \(499,712 tokens\) or 245 samples \(501,760"):
        BatchSize.model_validate("0.5M").samples(2048)


def test_intervals() -> None:
    assert Interval.model_validate("100 steps").model_dump() == "100 steps"
    assert Interval.model_validate("1B tokens").amount == 1_000_000_000
    assert Interval.model_validate("30 min").model_dump() == "1800 s"
    for wrong, rule in {
        "100": "needs its unit: `100 steps`, `1B tokens` or `30 min`",
        "100k": "needs its unit",
        "100 parsecs": "must be a time",
        "0 steps": "must be greater than 0",
    }.items():
        with pytest.raises(ValueError, match=rule):
            Interval.model_validate(wrong)


def test_short() -> None:
    assert [short(n) for n in (7, 999, 12_345, 479_653, 4.56e6, 1.2e9, 3e12)] == [
        "7", "999", "12.3k", "480k", "4.56M", "1.2B", "3T",
    ]  # fmt: skip
    assert [short(n) for n in (999_499, 999_500, 999_999, 999_999_999)] == ["999k", "1M", "1M", "1B"]


def test_sizes_are_in_bytes_of_si() -> None:
    assert [size(n) for n in (45, 999_999, 1_234_567_890, 2e12)] == ["45B", "1MB", "1.23GB", "2TB"]
