"""What follows from the seconds of a step, by hand; layouts written into a YAML; sweeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run
from pretrain.planning.layouts.explain import explain
from pretrain.planning.layouts.plan import Plan, plan_of
from pretrain.planning.layouts.request import space_of_model
from pretrain.planning.layouts.search import job_of, search
from pretrain.planning.layouts.sweep import points, rows, sweep_counts
from pretrain.planning.layouts.text import details, memory_lines, plain, run_lines, seconds, table, time_lines
from pretrain.planning.layouts.write import with_layout, write_layout
from pretrain.planning.memory.stage import StageMemory
from pretrain.planning.timing.step import StepTime
from tests.planning.example import hardware, space

NOTHING = StepTime(*[0.0] * len(StepTime._fields))
EMPTY = StageMemory(*[0.0] * len(StageMemory._fields))


@pytest.fixture(scope="module")
def gpt3() -> Plan:
    """GPT-3 on 1,024 GPUs in 8 x 8 x 16, with a step that takes 31 s and stages of 10 and 20 GB."""
    where = space("gpt3-175b", 1024, "batch.global_batch_size=1536", "parallel={tensor: 8, pipe: 8}")
    stages = (EMPTY._replace(weights=20e9), *[EMPTY._replace(weights=10e9)] * 7)
    return Plan(job_of(where.run, where, hardware()), stages, NOTHING._replace(matmul=30.0, bubble=1.0, hidden=5.0))


def test_what_a_step_of_31_seconds_means(gpt3: Plan) -> None:
    """1,536 x 2,048 = 3,145,728 tokens a step; 300e9 tokens are 95,367.4 steps of 31 s: 2,956,391 s, 34.2 days."""
    assert gpt3.time.total == 31
    assert gpt3.step_tokens == 3_145_728
    assert gpt3.tokens_per_second == pytest.approx(99.096, abs=1e-3)
    assert gpt3.days == pytest.approx(34.2175, abs=1e-4)
    assert gpt3.gpu_hours == pytest.approx(34.2175 * 24 * 1024, rel=1e-5)
    assert gpt3.dollars == pytest.approx(840_929 * 2, rel=1e-4)
    assert gpt3.megawatt_hours == pytest.approx(420.5, abs=0.1)


def test_utilisation(gpt3: Plan) -> None:
    """6 FLOPs a parameter of the matrices and 12 L H D T: 6 x 174.6e9 + 12 x 96 x 12288 x 2048 = 1.0766e12 a token."""
    assert gpt3.mfu == pytest.approx(1.0766e12 * 99.096 / 312e12, rel=1e-3)
    assert gpt3.hfu == pytest.approx(gpt3.mfu, rel=1e-4)  # nothing is computed again; 47 columns pad 50,257


def test_full_recomputation_is_in_hfu_only(gpt3: Plan) -> None:
    parallel = gpt3.run.parallel.model_copy(update={"recompute": "full"})
    again = replace(gpt3, job=replace(gpt3.job, run=gpt3.run.model_copy(update={"parallel": parallel})))
    assert again.mfu == gpt3.mfu
    assert 1.2 < again.hfu / again.mfu < 4 / 3  # a third pass forward, but for the last product of the MLP


def test_the_fullest_stage(gpt3: Plan) -> None:
    assert (gpt3.fullest, gpt3.memory) == (0, 20e9)
    assert [line.split()[0] for line in memory_lines(gpt3)[2:]] == ["0", "1-7"]


def test_what_fits_by_less_than_the_error_is_marked(gpt3: Plan) -> None:
    """20 GB and 8% are 21.6."""
    for memory, tight in (("21 GB", True), ("22 GB", False)):
        plan = replace(gpt3, job=replace(gpt3.job, hardware=hardware(memory=memory)))
        rows = table([plan])
        assert plan.is_tight is tight
        assert (" 20?" in rows[1], len(rows) == 3) == (tight, tight)


def test_errors_are_told(gpt3: Plan) -> None:
    known = replace(gpt3, job=replace(gpt3.job, hardware=hardware(error=0.1)))
    told = "\n".join(run_lines(known))
    assert "95,368 steps, 34.2 +- 3.4 days" in told
    assert "speed   99.1 +- 9.9 tokens/s/GPU, MFU 34.2%, HFU 34.2%" in told
    assert time_lines(known)[0] == "time of a step: 31 s +-10%"
    assert "95,368 steps, 34.2 days" in run_lines(gpt3)[1]
    assert time_lines(gpt3)[0] == "time of a step: 31 s (not validated on test)"


def test_a_short_run_is_told_in_minutes(gpt3: Plan) -> None:
    train = gpt3.run.train.model_copy(update={"tokens": 3_145_728 * 100})
    short = replace(gpt3, job=replace(gpt3.job, run=gpt3.run.model_copy(update={"train": train})))
    assert run_lines(short)[1] == "length  100 steps, 51.7 minutes"


def test_text_fits_a_terminal(gpt3: Plan) -> None:
    found = search(space("gpt3-1.3b", 16), hardware())
    assert all(len(line) <= 100 for line in [*table(found), *details(found[0]), *details(gpt3)])


def test_the_parts_are_the_total() -> None:
    where = space("gpt3-1.3b", 16, "parallel={tensor: 2, pipe: 4}")
    plan = plan_of(job_of(where.run, where, hardware()))
    shown = plain(plan)
    assert sum(value for name, value in plan.time._asdict().items() if name != "hidden") == pytest.approx(
        plan.time.total
    )
    assert shown["memory"] == max(sum(stage) for stage in plan.stages)
    assert len(plan.stages) == 4


def test_explained_with_a_calculator(gpt3: Plan) -> None:
    told = "\n".join(explain(gpt3))
    assert "1,536 samples / (16 data x 1 samples) = 96" in told
    assert "3,145,728 tokens / 31 s / 1,024 GPUs = 99.1 tokens/s/GPU" in told
    assert "300,000,000,000 / 3,145,728 x 31 s / 86,400 = 34.22" in told


@pytest.mark.parametrize(("value", "told"), [(0.0123, "12.3 ms"), (1.234, "1.23 s"), (2230.4, "2,230 s")])
def test_seconds(value: float, told: str) -> None:
    assert seconds(value) == told


WRITTEN = {
    "a word": ("parallel: auto  # fits\n", "parallel: {tensor: 8, pipe: 8, zero: 1}  # fits\n"),
    "a block": (
        "parallel:\n  tensor: 2   # in a node\n  recompute: full\ncheckpoint: {}\n",
        "parallel:\n  tensor: 8   # in a node\n  pipe: 8\n  zero: 1\n  recompute: none\ncheckpoint: {}\n",
    ),
    "in one line": ("parallel: {tensor: 2}  # why\n", "parallel: {tensor: 8, pipe: 8, zero: 1}  # why\n"),
    "auto with fields": (
        "parallel: {auto: true, tensor: 8}\n",
        "parallel: {auto: false, pipe: 8, zero: 1, tensor: 8}\n",
    ),
    "none": ("", "parallel: {tensor: 8, pipe: 8, zero: 1}\n"),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_only_the_layout_is_written(case: str, gpt3: Plan) -> None:
    before, after = WRITTEN[case]
    head = "# a run\nname: x\nbatch:\n  global_batch_size: 1536  # samples\n"
    assert with_layout(head + before, gpt3.run) == f"{head}  micro_batch_size: 1\n{after}"


def test_written_runs_load(tmp_path: Path) -> None:
    """Every shipped run, with a layout of which nothing is the default."""
    layout = {"tensor": 4, "pipe": 2, "schedule": "dualpipev", "recompute": "full", "sequence_parallel": False}
    for file in sorted(Path("configs/runs").glob("*.yaml")):
        run = load_run(file)
        wanted = run.parallel.model_copy(update={"auto": False, **layout})
        batch = run.batch.model_copy(update={"micro_batch_size": 2})
        copy = tmp_path / file.name
        copy.write_text(file.read_text())
        shown = write_layout(str(copy), run.model_copy(update={"parallel": wanted, "batch": batch}))
        again = load_run(copy)
        assert again.parallel == wanted
        assert again.batch == batch
        assert again.model_copy(update={"parallel": run.parallel, "batch": run.batch}) == run
        assert {line[1:].split(":")[0].strip() for line in shown.splitlines() if line[:1] == "+"} <= {
            "++ " + str(copy), "parallel", "micro_batch_size", *layout, "zero",
        }  # fmt: skip


def test_only_a_file_of_ones_own_is_written(gpt3: Plan) -> None:
    with pytest.raises(ConfigError, match="cp configs/runs/gpt3-175b"):
        write_layout("gpt3-175b", gpt3.run)


def test_yaml_stays_yaml(gpt3: Plan) -> None:
    text = with_layout("batch: {global_batch_size: 1536}\n", gpt3.run)
    assert yaml.safe_load(text)["batch"] == {"global_batch_size": 1536, "micro_batch_size": 1}


def test_a_file_in_braces_is_not_written(gpt3: Plan) -> None:
    with pytest.raises(ConfigError, match="a line for each key"):
        with_layout("{name: x, batch: {global_batch_size: 1536}}\n", gpt3.run)


def test_sweep_doubles() -> None:
    assert sweep_counts("gpus=64..2048") == [64, 128, 256, 512, 1024, 2048]
    assert sweep_counts("gpus=3..20") == [3, 6, 12]


@pytest.mark.parametrize("text", ["64..2048", "gpus=8..4", "gpus=0..4", "gpus=1..10000000000"])
def test_sweeps_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        sweep_counts(text)


def test_strong_and_weak() -> None:
    where = space("gpt3-125m", 1)
    cluster = where.run.cluster.model_copy(update={"hardware": hardware()})
    where = where._replace(run=where.run.model_copy(update={"cluster": cluster}))
    strong, weak = list(points(where, [1, 2, 4])), list(points(where, [1, 2, 4], weak=True))
    assert [point.plan.job.samples for point in strong if point.plan] == [32, 32, 32]
    assert [point.plan.job.samples for point in weak if point.plan] == [32, 64, 128]
    assert strong[0].plan and strong[2].plan
    speed_up = strong[0].plan.time.total / strong[2].plan.time.total
    assert 1 < speed_up <= 4
    assert rows(strong)[1].split()[-2:] == ["1", "100%"]
    assert rows(strong)[3].split()[-2] == f"{speed_up:.3g}"


@pytest.mark.parametrize(
    ("batch", "samples"), [("0.5M", 256), ("1M", 512), ("2M", 1024), ("3.2M", 1536), ("4M", 2048), ("1000", 1000)]
)
def test_batches_as_papers_print_them(batch: str, samples: int) -> None:
    """Table 2.1 of Brown et al. 2020, and LLaMA's 4M."""
    where = space_of_model("gpt3-175b", [], "a100-80gb", 1024, batch, "300B")
    assert where.samples == samples


REFUSED = {
    "unknown model": (("gpt3-175", "a100-80gb", 8, None, None), "did you mean 'gpt3-175b'"),
    "unknown cluster": (("gpt3-175b", "a100-80g", 8, None, None), "did you mean 'a100-80gb'"),
    "hardware not known": (("gpt3-175b", "slurm-cpu", 8, None, None), "--cluster NAME; known: a100-"),
    "no cluster": (("gpt3-175b", None, 8, None, None), "cluster.hardware = None"),
    "no GPUs": (("gpt3-175b", "h100", 0, None, None), "must be from 1 to 1,000,000"),
    "a billion": (("gpt3-175b", "h100", 10**9, None, None), "must be from 1 to 1,000,000"),
    "no batch": (("tiny", "h100", 8, None, None), "--batch = None"),
    "a batch above the run": (("gpt3-1.3b", "h100", 8, "1e30", "1B"), "must not be more tokens than the run has"),
    "a word for a batch": (("tiny", "h100", 8, "large", "1B"), "--batch = 'large'"),
}


def test_a_model_too_deep_to_be_cut() -> None:
    with pytest.raises(ConfigError, match="must be at most 512"):
        space_of_model("gpt3-175b", ["model.layers=9600"], "h100", 8, None, None)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    (model, cluster, gpus, batch, tokens), told = REFUSED[case]
    with pytest.raises(ConfigError) as error:
        space_of_model(model, [], cluster, gpus, batch, tokens)
    assert len(error.value.problems) == 1
    assert told in str(error.value)
