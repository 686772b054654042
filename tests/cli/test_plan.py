"""`pretrain plan` as a user types it, in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pretrain.cli.main import app
from pretrain.config.errors import ConfigError

MODEL = ("--model", "gpt3-125m", "--cluster", "a100-80gb", "--gpus", "8", "--batch", "64")


def plan(*arguments: str) -> str:
    """What it prints. Raises what it raises."""
    done = CliRunner().invoke(app, ["plan", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_model_on_a_cluster() -> None:
    lines = plan(*MODEL, "--top", "3").splitlines()
    assert lines[0] == "gpt3-125m: 300B tokens, batch 64 samples of 2,048 tokens, on 8 x a100-80gb"
    assert [line.split()[0] for line in lines[2:6]] == ["#", "1", "2", "3"]
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("length  2,288,819 steps, ") for line in lines)  # 300e9 / (64 x 2,048)


def test_json_is_ranked() -> None:
    found = json.loads(plan(*MODEL, "--json", "--tokens", "26B"))
    times = [one["step_seconds"] for one in found]
    assert len(found) == 10
    assert times == pytest.approx(sorted(times), rel=1e-3)
    for one in found:
        layout = one["layout"]
        assert layout["tensor"] * layout["pipe"] * layout["data"] == one["gpus"] == 8
        assert one["memory"] <= 84.9e9
        assert one["days"] == pytest.approx(26e9 / (64 * 2048) * one["step_seconds"] / 86_400)
        assert one["mfu"] <= one["hfu"] < 1


def test_a_run_keeps_what_it_gives(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = Path("configs/runs/gpt3-125m.yaml").read_text().replace("parallel: auto", "parallel: {auto: true, pipe: 2}")
    file.write_text(text)
    given = ("batch.global_batch_size=64", "batch.ramp=null", "parallel.pipe=2", "--cluster", "a100-80gb")
    lines = plan(str(file), *given, "--explain").splitlines()
    assert lines[1] == "as the run has it (--any searches all): pipe 2, micro_batch_size 2"
    assert "the whole run" in lines
    every = json.loads(plan(str(file), *given, "--any", "--json", "--top", "100"))
    assert {one["layout"]["pipe"] for one in every} > {1, 2}


def test_write(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = Path("configs/runs/gpt3-125m.yaml").read_text().replace("\n", "\r\n")
    file.write_bytes(text.encode())
    shown = plan(str(file), "--cluster", "a100-80gb", "--write")
    assert "\n+parallel: {tensor: " in shown
    lines = file.read_bytes().split(b"\r\n")
    assert len(lines) in (len(text.split("\r\n")), len(text.split("\r\n")) + 1)
    assert not any(b"\n" in line for line in lines)
    with pytest.raises(ConfigError, match="of a run that it does not describe"):
        plan(str(file), "batch.global_batch_size=64", "--cluster", "a100-80gb", "--write")


def test_sweep(tmp_path: Path) -> None:
    lines = plan(*MODEL, "--sweep", "gpus=1..4", "--out", str(tmp_path / "sweep.png")).splitlines()
    assert [line.split()[0] for line in lines] == ["GPUs", "1", "2", "4"]
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


REFUSED = {
    "neither": ((), "RUN.yaml = None"),
    "both": (("gpt3-125m", "--model", "gpt3-125m"), "--model = 'gpt3-125m'"),
    "a batch of a run": (("gpt3-125m", "--batch", "2M"), "go with --model"),
    "no hardware": (("gpt3-125m", "--gpus", "8"), "--cluster NAME; known: a100-"),
    "zero bandwidth": (("gpt3-125m", "cluster.hardware.network_bandwidth=0", "--cluster", "h100"), "greater than 0"),
    "unknown GPU": (("gpt3-125m", "cluster.hardware=a100-80g"), "did you mean 'a100-80gb'?"),
    "a rule": (("gpt3-125m", "parallel.tensor=8", "--cluster", "h100"), "attention is cut by whole heads"),
    "too big": (("--model", "gpt3-13b", "--gpus", "1", "--cluster", "a100-80gb", "parallel.offload=none"), " GPUs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    arguments, told = REFUSED[case]
    with pytest.raises(ConfigError) as error:
        plan(*arguments)
    assert told in str(error.value)


def test_without_torch() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from pretrain.cli.main import app;"
        f"done = CliRunner().invoke(app, ['plan', *{MODEL!r}]);"
        "print(done.exit_code, [m for m in ('torch', 'numpy', 'matplotlib', 'deepspeed') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 []"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((*MODEL, "--weak"), "--weak"),
        ((*MODEL, "--json", "--explain"), "--explain"),
        (("--budget", "1e24", "--sweep", "gpus=8..16"), "--sweep"),
        ((*MODEL, "--write"), "--write"),
        (("--budget", "8xlx3d"), "--budget"),
    ],
)
def test_what_would_not_be_heard(arguments: tuple[str, ...], field: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan(*arguments)
    assert error.value.problems[0].field == field


def test_a_model_without_a_run_has_its_own_name() -> None:
    made = plan("--model", "tiny", "--cluster", "laptop-cpu", "--gpus", "1", "--batch", "8", "--tokens", "1M")
    assert made.startswith("tiny: 1M tokens")
