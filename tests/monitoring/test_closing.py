"""The table at the end."""

from pretrain.monitoring.closing import closing_table

SCORE = {"perplexity": 1.0, "bits_per_byte": 1.1, "loss": 4.05, "loss/web": 4.0, "bits_per_byte/web": 1.0}


def test_last_validation_beside_the_lines() -> None:
    rows = [
        {"kind": "baseline", "step": 0, "unigram": 6.5, "bigram": 4.79},
        {"kind": "validation", "step": 10, **SCORE, "loss": 9.0},
        {"kind": "train", "step": 20, "loss": 3.0},
        {"kind": "validation", "step": 20, **SCORE},
    ]
    assert closing_table(rows) == [
        "validation loss  nats/token  bits/byte",
        "web                  4.0000     1.0000",
        "all                  4.0500     1.1000",
        "bigrams              4.7900  counted on the same training tokens",
        "unigrams             6.5000  counted on the same training tokens",
    ]


def test_without_validation_there_is_none() -> None:
    assert closing_table([{"kind": "train", "step": 1, "loss": 3.0}]) == []
    assert closing_table([{"kind": "validation", "step": 1}]) == []
