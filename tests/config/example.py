"""A run that is valid, to change one thing of."""

from typing import Any

import pytest

from pretrain.config.errors import ConfigError, Problem
from pretrain.config.load import merge
from pretrain.config.run import Run

RUN: dict[str, Any] = {
    "name": "example",
    "train": {"tokens": "1M"},
    "model": {"layers": 2, "d_model": 64, "heads": 4, "context": 128},
    "data": {"manifest": "corpora/example/manifest.json"},
    "batch": {"global_batch_size": 32, "micro_batch_size": 4},
    "optimizer": {"learning_rate": 1e-3},
}


def make_run(**changes: Any) -> Run:
    """RUN with nested changes."""
    return Run.parse(merge(RUN, changes))


def problem_of(error: pytest.ExceptionInfo[ConfigError]) -> Problem:
    """The only problem of an error."""
    (problem,) = error.value.problems
    return problem
