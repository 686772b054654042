"""Planned step times against published ones: facts of papers and repositories, with their source in published.csv."""

from pathlib import Path

import pytest

from benchmarks.planner import check
from benchmarks.published import read_rows
from pretrain.config.layout import Layout
from pretrain.config.load import load_run
from pretrain.planning.job import Job, Practice
from pretrain.planning.timing.step import step_time
from tests.planning.timing.test_step import A100

ROWS = read_rows(Path(__file__).with_name("published.csv"))
ALLOWED = {
    "korthikanti22_t5": 0.085,
    "narayanan21_t1": 0.06,
    "mcore_h100": 0.15,
    "llm_foundry": 0.15,
    "torchtitan": 0.12,
}
"""Relative error of a step's time: somewhat above what is reached (docs/planning-errors.md)."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['group']}-{row['model']}-{row['recompute']}-{row['id']}")
def test_a_published_step(row: dict[str, str]) -> None:
    (found,) = check([row])
    assert abs(found.error) <= ALLOWED[row["group"]]


def test_gpt3_in_34_days() -> None:
    """Narayanan et al. 2021, section 5.1: GPT-3 on 300B tokens on 1,024 A100 in about 34 days; as it was trained there,
    tensor 8, pipe 8, data 16, full recompute, batch 1,536."""
    run = load_run("gpt3-175b", ["parallel.tensor=8", "parallel.pipe=8", "parallel.recompute=full", "batch.ramp=null"])
    practice = Practice(attention="fused", fused=True, accumulated=3, cut="blocks", spreads_pipe=True)
    step = step_time(Job(run, Layout(8, 16, 8), A100, 8, practice)).total
    days = step * 300e9 / (1536 * 2048) / 86400
    assert days == pytest.approx(34, rel=0.1)
