"""Efficiencies that made-up runs were made with are found again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pretrain.config.errors import ConfigError
from pretrain.config.hardware import Hardware
from pretrain.planning.calibrate import Measured, calibrate
from pretrain.planning.job import Job
from pretrain.planning.timing.step import step_time
from pretrain.profiling.calibration import calibrate_command
from tests.planning.jobs import a100, job

ONE_NODE = [job("gpt3-1.3b", 8, tensor=1, pipe=1), job("gpt3-125m", 8, tensor=1, pipe=1, recompute="full")]
TWO_NODES = [*ONE_NODE, job("gpt3-1.3b", 16, tensor=1, pipe=1)]


def with_efficiency(**values: float) -> Hardware:
    hardware = a100()
    return hardware.model_copy(update={"efficiency": hardware.efficiency.model_copy(update=values)})


def measured(jobs: list[Job], hardware: Hardware) -> list[Measured]:
    """As if `jobs` took exactly what is planned on `hardware`."""
    return [Measured("run", one, step_time(replace(one, hardware=hardware)).total) for one in jobs]


def test_known_efficiencies_are_recovered() -> None:
    start = a100().efficiency
    wanted = with_efficiency(matmul=0.6, flash=0.6 * start.flash / start.matmul, memory=0.5)
    found = calibrate(measured(ONE_NODE, wanted), a100()).efficiency
    assert found.matmul == pytest.approx(0.6, rel=1e-3) and found.memory == pytest.approx(0.5, rel=1e-3)
    assert found.flash == pytest.approx(0.6 * start.flash / start.matmul, rel=1e-3)
    assert (found.network, found.links) == (start.network, start.links)


def test_the_network_is_fitted_where_data_ranks_are_on_several_nodes() -> None:
    """On two nodes the links inside a node are the slower ones until the network reaches less than planned."""
    wanted = with_efficiency(network=0.3)
    found = calibrate(measured(TWO_NODES, wanted), a100()).efficiency
    assert found.network == pytest.approx(0.3, rel=1e-2) and found.matmul == pytest.approx(a100().efficiency.matmul)


def test_one_run_is_explained_by_a_small_change() -> None:
    slow = [Measured("run", ONE_NODE[0], 1.3 * step_time(ONE_NODE[0]).total)]
    found = calibrate(slow, a100())
    assert slow[0].error(found) == pytest.approx(0, abs=1e-3)
    assert found.efficiency.matmul < a100().efficiency.matmul and found.efficiency.memory < a100().efficiency.memory


def test_runs_that_need_no_change() -> None:
    assert calibrate(measured(ONE_NODE, a100()), a100()).efficiency == a100().efficiency


def test_nothing_is_faster_than_its_peak() -> None:
    fast = [Measured("run", one, step_time(one).total / 10) for one in ONE_NODE]
    found = calibrate(fast, a100()).efficiency
    assert found.matmul == 1 and found.memory == 1


def run_directory(directory: Path, steps: int = 25, seconds: float = 2.0, **changes: Any) -> Path:
    """A run of gpt3-125m on 8 GPUs of one node, whose first steps are slow, and one in ten has a spike."""
    directory.mkdir()
    made = job("gpt3-125m", 8, tensor=1, pipe=1).run
    cluster = made.cluster.model_copy(update={"hardware": a100(), "gpus_per_node": 8} | changes)
    (directory / "run.yaml").write_text(yaml.safe_dump(made.model_copy(update={"cluster": cluster}).plain()))
    start = {"event": "start", "attempt": 1, "time": 1.0, "launcher": "local", "job": "", "hosts": ["a"]}
    (directory / "attempts.jsonl").write_text(json.dumps({**start, "processes": 8, "step": 0}) + "\n")
    rows = [
        {"kind": "train", "step": step, "tokens": 0, "batch_tokens": 524288, "data_seconds": 0.5}
        | {"step_seconds": 0.5 + seconds * (9 if step <= 5 else 5 if step % 10 == 0 else 1)}
        for step in range(1, steps + 1)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


def test_a_cluster_file_comes_out_that_can_be_read_again(tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    text = calibrate_command([run_directory(tmp_path / "run")], out)
    assert out.read_text() == text and "2 s (+0.0%)" in text
    assert f"efficiency.matmul: {a100().efficiency.matmul:g} -> " in text
    found = Hardware.parse(yaml.safe_load(text)["hardware"])
    assert step_time(replace(job("gpt3-125m", 8, tensor=1, pipe=1), hardware=found)).total == pytest.approx(2, rel=2e-3)


def test_a_ramp_is_measured_at_its_commonest_batch(tmp_path: Path) -> None:
    path = run_directory(tmp_path / "run") / "metrics.jsonl"
    small = '{"kind": "train", "step": 9, "tokens": 0, "batch_tokens": 2048, "data_seconds": 0, "step_seconds": 0.01}\n'
    path.write_text(path.read_text() + 7 * small)
    assert "2 s (+0.0%)" in calibrate_command([tmp_path / "run"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 9}, "must have 5 measured steps after the first 5 of its last attempt, not 4"),
        ({"hardware": None}, "must say in run.yaml on which hardware it was"),
        ({"without": "run.yaml"}, "must be a run directory"),
        ({"without": "attempts.jsonl"}, "must hold attempts.jsonl"),
        ({"without": "metrics.jsonl"}, "must have 5 measured steps after the first 5 of its last attempt, not 0"),
    ],
)
def test_bad_run_directories(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    without = change.pop("without", None)
    directory = run_directory(tmp_path / "run", **change)
    if without:
        (directory / without).unlink()
    with pytest.raises(ConfigError, match=said) as error:
        calibrate_command([directory])
    assert error.value.problems[0].field == "--calibrate" and len(error.value.problems) == 1


def test_runs_on_other_hardware(tmp_path: Path) -> None:
    other = a100().model_copy(update={"gpu": "other"})
    runs = [run_directory(tmp_path / "one"), run_directory(tmp_path / "two", hardware=other)]
    with pytest.raises(ConfigError, match="must be on the hardware of the first run, a100-80gb, not other"):
        calibrate_command(runs)
