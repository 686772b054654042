"""Planned step times against published ones: facts of papers and repositories, with their source in published.csv."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.planner import check
from benchmarks.published import MEGATRON, read_rows
from pretrain.config.layout import Layout
from pretrain.config.load import load_run
from pretrain.planning.job import Job
from pretrain.planning.timing.step import step_time
from tests.planning.timing.test_step import A100

ROWS = read_rows(Path(__file__).with_name("published.csv"))
ALLOWED = {
    "korthikanti22_t5": 0.085,
    "narayanan21_t1": 0.07,
    "mcore_h100": 0.15,
    "llm_foundry": 0.15,
    "torchtitan": 0.12,
}
"""Relative error of a step's time: somewhat above what is reached (docs/planning-errors.md)."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['group']}-{row['model']}-{row['recompute']}-{row['id']}")
def test_a_published_step(row: dict[str, str]) -> None:
    (found,) = check([row])
    assert abs(found.error) <= ALLOWED[row["group"]]


@pytest.mark.parametrize(("gpus", "micro_batch", "tflops"), [(384, 4, 144), (768, 2, 88), (1536, 1, 44)])
def test_zero_3_of_deepspeed(gpus: int, micro_batch: int, tflops: float) -> None:
    """Narayanan et al. 2021, table 2: GPT-3 with ZeRO 3 alone, batch 1,536, everything computed again. FLOPs of a step
    by their equation 3, with a vocabulary of 51,200."""
    given = ["parallel.zero=3", "parallel.recompute=full", f"batch.micro_batch_size={micro_batch}", "batch.ramp=null"]
    run = load_run("gpt3-175b", ["parallel.tensor=1", "parallel.pipe=1", *given])
    practice = replace(MEGATRON, cut="cost", fetches="deepspeed")
    planned = step_time(Job(run, Layout(1, gpus, 1), A100, 8, practice)).total
    flops = 96 * 1536 * 2048 * 96 * 12288**2 * (1 + 2048 / (6 * 12288) + 51_200 / (16 * 96 * 12288))
    assert planned == pytest.approx(flops / gpus / (tflops * 1e12), rel=0.1)


@pytest.mark.parametrize(("gpus", "tflops"), [(384, 153), (768, 149), (1536, 141)])
def test_tensor_and_pipeline_parallelism_beside_it(gpus: int, tflops: float) -> None:
    """The other half of that table: tensor 8, pipe 12, micro-batch 1; its schedule was interleaved, by what is open."""
    given = ["parallel.recompute=full", "batch.ramp=null"]
    run = load_run("gpt3-175b", ["parallel.tensor=8", "parallel.pipe=12", *given])
    layout = Layout(12, gpus // 96, 8)
    jobs = (Job(run, layout, A100, 8, replace(MEGATRON, virtual=virtual)) for virtual in (1, 2, 4, 8))
    planned = min(step_time(job).total for job in jobs)
    flops = 96 * 1536 * 2048 * 96 * 12288**2 * (1 + 2048 / (6 * 12288) + 51_200 / (16 * 96 * 12288))
    assert planned == pytest.approx(flops / gpus / (tflops * 1e12), rel=0.1)


def test_gpt3_in_34_days() -> None:
    """Narayanan et al. 2021, section 5.1: GPT-3 on 300B tokens on 1,024 A100 in about 34 days; as it was trained there,
    tensor 8, pipe 8, data 16, full recompute, batch 1,536."""
    run = load_run("gpt3-175b", ["parallel.tensor=8", "parallel.pipe=8", "parallel.recompute=full", "batch.ramp=null"])
    step = step_time(Job(run, Layout(8, 16, 8), A100, 8, MEGATRON)).total
    days = step * 300e9 / (1536 * 2048) / 86400
    assert days == pytest.approx(34, rel=0.05)
