"""What does not fit is refused on the login node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from launch.checks import Case, Result, run_checks
from launch.fits import checks_of_memory
from launch.start import check
from pretrain.config.run import Run
from tests.example import small_run
from tests.planning.example import A100

WIDE = {"layers": 2, "d_model": 4096, "heads": 32, "context": 16, "vocab_size": 50257}
"""Blocks of 201M parameters and a table of 206M: 608M."""


def checked(memory: int | str, folder: Path, **parallel: Any) -> list[Result]:
    """The check of a given layout on four GPUs with so much memory."""
    cluster = {"nodes": 1, "gpus_per_node": 4, "hardware": {**A100, "memory": memory}}
    changes: dict[str, Any] = {"model": WIDE, "precision": {"compute": "bf16"}, "parallel": parallel}
    batch = {"global_batch_size": 4, "micro_batch_size": 1}
    run = Run.parse(small_run(folder / "manifest.json", folder, cluster=cluster, batch=batch, **changes))
    case = Case(run, folder)
    return run_checks(case, checks_of_memory(case))


def test_what_fits_is_told(tmp_path: Path) -> None:
    (result,) = checked("80 GB", tmp_path, tensor=1)
    assert (result.name, result.state) == ("memory", "ok")
    assert result.detail.endswith("planned on the fullest GPU, 80GB there")


def test_what_does_not_fit_is_refused_with_what_would(tmp_path: Path) -> None:
    """ZeRO 1 over four: 608M x (2 + 12 / 4) bytes and gradients; 5 GB are too few, cut in four they are not."""
    (result,) = checked("5 GB", tmp_path, tensor=1, zero=1)
    assert result.state == "refused"
    (problem,) = result.problems
    assert problem.field == "parallel"
    assert problem.value == "pipe 1 x data 4 x tensor 1, ZeRO 1"
    assert problem.rule.startswith("each stage must fit into the 5GB of one test; stage 0 needs ")
    assert re.search(r"needs [0-9.]+GB, of that [0-9.]+GB (gradients|buffers|weights)$", problem.rule)
    assert problem.fix.startswith("this fits: pipe ")
    assert problem.fix.endswith("; or parallel: auto")


def test_what_nearly_does_not_fit_is_a_doubt(tmp_path: Path) -> None:
    """Within the error of the planned bytes."""
    (result,) = checked("80 GB", tmp_path, tensor=1)
    planned = result.detail.split()[0]
    (result,) = checked(int(float(planned.removesuffix("GB")) * 1.01e9), tmp_path, tensor=1)
    assert result.state == "doubt"


def test_more_gpus_where_nothing_fits(tmp_path: Path) -> None:
    (result,) = checked("1 GB", tmp_path, tensor=1)
    assert result.problems[0].fix == "a GPU with more memory, a smaller micro_batch_size, or a smaller model"


@pytest.mark.parametrize("hardware", [None, A100])
def test_only_where_the_hardware_is_known(hardware: dict[str, Any] | None, corpus: Path, tmp_path: Path) -> None:
    plain = small_run(corpus, tmp_path, cluster={"hardware": hardware})
    names = [result.name for result in check(Run.parse(plain), tmp_path)]
    assert ("memory" in names) is (hardware is not None)
