"""Rows in words."""

from pretrain.monitoring.lines import checkpoint_words, planned_words


def test_a_large_checkpoint_is_told_in_gigabytes() -> None:
    row = {"bytes": 1_500_000_000, "write_seconds": 3.0, "blocked_seconds": 0.5, "waited_seconds": 0.0}
    assert checkpoint_words(row) == "checkpoint: 1.5GB in 3.00 s, training stood still 0.50 s"


def test_planned_beside_measured() -> None:
    row = {"step_seconds": 2.0, "tokens_per_second": 1e6, "measured_step_seconds": 2.5}
    row |= {"measured_tokens_per_second": 8e5, "memory_bytes": 6e10, "measured_memory_bytes": 6.5e10}
    assert planned_words(row) == (
        "planned 2 s a step, 1M tokens/s, 60GB; measured 2.5 s a step, 800k tokens/s, 65GB: "
        "1.25 times the seconds planned"
    )
