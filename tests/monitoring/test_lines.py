"""Rows in words."""

from pretrain.monitoring.lines import checkpoint_words


def test_a_large_checkpoint_is_told_in_gigabytes() -> None:
    row = {"bytes": 1_500_000_000, "write_seconds": 3.0, "blocked_seconds": 0.5, "waited_seconds": 0.0}
    assert checkpoint_words(row) == "checkpoint: 1.5GB in 3.00 s, training stood still 0.50 s"
