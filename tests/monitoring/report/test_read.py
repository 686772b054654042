"""What is read from a run directory, whole or not."""

from __future__ import annotations

import fcntl
from pathlib import Path

import numpy as np
import pytest

from pretrain.config.errors import ConfigError
from pretrain.monitoring.report.read import read_run, read_runs
from pretrain.monitoring.report.table import CHUNK, Table
from tests.monitoring.report.runs import CONFIG, make_run


def test_columns_over_chunks() -> None:
    table = Table()
    for step in range(CHUNK + 2):
        table.add(
            {"step": step, "loss": None if step == 1 else 0.5, "word": "x", **({"late": 7} if step > CHUNK else {})}
        )
    assert len(table) == CHUNK + 2 == len(table["loss"]) == len(table["none"])
    assert table["step"][-1] == CHUNK + 1 and np.isnan(table["loss"][1]) and np.isnan(table["none"]).all()
    assert np.isfinite(table["late"]).sum() == 1 and table.last("late") == 7 and table.last("none") is None
    assert "late" in table and "word" not in table


def test_a_run(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run"))
    assert (run.label, len(run.train), len(run.validation), run.sources) == ("one", 20, 4, ["web", "books"])
    assert run.baseline == {"unigram": 6.5, "bigram": 4.25} and run.setting("train", "tokens") == 4000
    assert run.setting("train", "seed", "none") is None and not run.running and run.problems == []


def test_runs_of_one_name_are_called_by_their_directories(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / name) for name in "ab"]
    assert [run.label for run in read_runs([*paths, paths[0]])] == [str(path) for path in paths]


def test_a_line_that_is_being_written_is_not_there_yet(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run") / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"kind":"train","st')
    run = read_run(tmp_path / "run")
    assert len(run.train) == 20 and run.problems == []


def test_broken_lines_are_named_and_counted(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run") / "metrics.jsonl"
    lines = path.read_text().splitlines()
    lines[3:3] = ['{"kind":"train","step":', "[1, 2]", '{"kind": "train"}']
    path.write_text("\n".join(lines) + "\n")
    run = read_run(tmp_path / "run")
    (problem,) = run.problems
    assert len(run.train) == 20 and problem.startswith("metrics.jsonl: 3 left out, line 4 (")
    assert "a row without kind, step, tokens: [1, 2]" in problem


def test_many_broken_lines_are_not_all_named(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run") / "metrics.jsonl"
    path.write_text(path.read_text() + "nothing\n" * 40)
    (problem,) = read_run(tmp_path / "run").problems
    assert "40 left out" in problem and problem.endswith("and 35 more")


def test_other_files_that_are_broken(tmp_path: Path) -> None:
    make_run(tmp_path / "run", run_yaml="a: [", skipped_json="{}", heartbeat_json="{")
    run = read_run(tmp_path / "run")
    assert run.config == {} and run.label == "run" and len(run.train) == 20
    assert [problem.split()[0] for problem in run.problems] == ["run.yaml", "skipped.json"]


def test_a_run_that_was_only_launched(tmp_path: Path) -> None:
    (tmp_path / "launch.yaml").write_text("name: soon")
    run = read_run(tmp_path)
    assert (run.label, len(run.train), run.config) == ("soon", 0, {"name": "soon"})


def test_who_holds_the_directory_runs(tmp_path: Path) -> None:
    with open(make_run(tmp_path / "run") / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert read_run(tmp_path / "run").running
    assert not read_run(tmp_path / "run").running


@pytest.mark.parametrize("name", ["", "nothing"])
def test_a_directory_that_is_no_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"must be a run directory, which holds one of run\.yaml"):
        read_run(tmp_path / name)


def test_the_state_of_the_newest_checkpoint(tmp_path: Path) -> None:
    make_run(tmp_path / "run", config=CONFIG)
    for name, told in (("step-00000100", "old"), ("step-100000000", "new"), ("step-00000200.damaged", "bad")):
        (tmp_path / "run" / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "run" / "checkpoints" / name / "state.json").write_text(f'{{"tokenizer_fingerprint": "{told}"}}')
    assert read_run(tmp_path / "run").saved == {"tokenizer_fingerprint": "new"}
