"""A small run that tests train for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretrain.config.load import merge


def small_run(corpus: Path, directory: Path, **changes: Any) -> dict[str, Any]:
    """20 steps of 4 samples of 16 tokens on a corpus of tests/synthetic.py, with nested changes."""
    run = {
        "name": "small",
        "directory": str(directory),
        "train": {"tokens": 20 * 4 * 16, "validation_tokens": 160},
        "model": {"layers": 2, "d_model": 32, "heads": 4, "context": 16, "dropout": 0.1},
        "data": {"manifest": str(corpus)},
        "batch": {"global_batch_size": 4, "micro_batch_size": 2},
        "optimizer": {"learning_rate": 1e-3},
        "precision": {"compute": "fp32"},
        "monitoring": {"terminal": "plain", "tensorboard": False, "peak_tflops": 1},
    }
    return merge(run, changes)
