"""`pretrain coordinate-check`, on a run that is meant for many GPUs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from pretrain.cli.main import app
from pretrain.config.errors import ConfigError
from pretrain.config.load import merge
from tests.config.example import RUN
from tests.synthetic import make_corpus


def check(tmp_path: Path, *arguments: str, **changes: Any) -> Result:
    if not (tmp_path / "corpus").exists():
        make_corpus(tmp_path / "corpus", 60, 4000, 400)
    more = {
        "data": {"manifest": str(tmp_path / "corpus" / "manifest.json")},
        "model": {"d_model": 512, "heads": 32, "context": 32, "vocab_multiple": 64},
        "parallel": {"tensor": 8, "pipe": 2},
        "precision": {"compute": "bf16"},
        "optimizer": {"learning_rate": 1e-2},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(merge(merge(RUN, more), changes)))
    return CliRunner().invoke(app, ["coordinate-check", str(tmp_path / "run.yaml"), *arguments])


def test_mup_passes(tmp_path: Path) -> None:
    done = check(
        tmp_path, "--out", str(tmp_path / "mup.svg"), "--steps", "2", "model.mup.base_d_model=16", "--widths", "16,64"
    )
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "does not depend on the width: exponents are within 0.5 of 0"
    assert (tmp_path / "mup.svg").read_text().startswith("<?xml")


def test_without_mup_it_does_not(tmp_path: Path) -> None:
    done = check(tmp_path, "--json", "--steps", "2", "--widths", "16,64")
    assert done.exit_code == 1
    plain = json.loads(done.stdout)
    assert "residual stream" in plain["depending"] and list(plain["widths"]) == ["16", "64"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--widths", "16,wide"), "--widths"),
        (("--widths", "16,40"), "--widths"),
        (("--out", "nowhere/picture.png"), "--out"),
        (("--out", "picture.gif"), "--out"),
        (("model.mup.base_d_model=16", "optimizer.name=muon"), "optimizer.name"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], field: str, tmp_path: Path) -> None:
    error = check(tmp_path, *arguments).exception
    assert isinstance(error, ConfigError)
    assert error.problems[0].field == field
