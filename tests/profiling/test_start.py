"""What a profile refuses before any process joins, and which steps it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pretrain.cli.main import app
from pretrain.config.errors import ConfigError
from pretrain.config.run import Run
from pretrain.data.dataset import Corpus
from pretrain.profiling.start import Asked, chosen_steps, profile
from pretrain.shards.manifest import load_manifest
from tests.example import small_run


def refused(run: dict[str, Any], tmp_path: Path, asked: Asked) -> ConfigError:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run))
    with pytest.raises(ConfigError) as error:
        profile(str(path), [], asked)
    assert not (tmp_path / "run").exists()
    return error.value


def test_more_steps_than_the_run_has(corpus: Path, tmp_path: Path) -> None:
    error = refused(small_run(corpus, tmp_path / "run"), tmp_path, Asked(steps=19))
    assert str(error) == (
        "--steps = 19\n    rule: must, with 2 of warm-up, be at most the 20 steps of the run\n"
        "    fix:  --steps 18 --warmup 2, or a larger train.tokens"
    )


def test_without_a_corpus(tmp_path: Path) -> None:
    error = refused(small_run(tmp_path / "nowhere.json", tmp_path / "run"), tmp_path, Asked())
    assert error.problems[0].field == "data.manifest" and "pretrain corpus prepare" in error.problems[0].fix


def test_a_directory_that_cannot_be_written(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = refused(small_run(corpus, tmp_path / "run"), tmp_path, Asked(out=tmp_path / "file" / "profile"))
    assert error.problems[0].field == "--out" and "must be a writable directory" in error.problems[0].rule


def test_nvtx_without_a_gpu(corpus: Path, tmp_path: Path) -> None:
    error = refused(small_run(corpus, tmp_path / "run"), tmp_path, Asked(nvtx=True))
    assert "needs an NVIDIA GPU" in str(error)


@pytest.mark.parametrize(
    ("ramp", "asked", "steps"),
    [
        (None, Asked(), range(0, 5)),
        # 2 samples in each of 5 steps, then 4 of them in 18
        ({"start": 2, "tokens": 160}, Asked(), range(5, 10)),
        ({"start": 2, "tokens": 160}, Asked(steps=18, warmup=4), range(1, 23)),
    ],
)
def test_the_first_steps_with_a_whole_batch(
    corpus: Path, tmp_path: Path, ramp: dict[str, Any] | None, asked: Asked, steps: range
) -> None:
    run = Run.parse(small_run(corpus, tmp_path / "run", batch={"ramp": ramp}))
    plan = Corpus(load_manifest(corpus), run.sequence_length).plan(run)
    assert chosen_steps(plan, run, asked) == steps


@pytest.mark.parametrize("steps", ["0", "-1", "some"])
def test_a_number_of_steps_that_is_none(steps: str) -> None:
    result = CliRunner().invoke(app, ["profile", "quickstart", "--steps", steps])
    assert result.exit_code == 2 and "Invalid value" in result.output
