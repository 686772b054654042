"""The commands as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.example import small_run
from tests.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def pretrain(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [str(BIN / "pretrain"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=240, env=environment)


def test_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys, pretrain.cli.main; print([m for m in ('torch', 'numpy', 'pydantic', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_command() -> None:
    done = pretrain("--help")
    for command in ("config", "tokenizer", "corpus", "train", "generate"):
        assert command in done.stdout


def test_config_check_tells_the_arithmetic() -> None:
    done = pretrain("config", "check", "gpt3-125m", "--processes", "8")
    assert done.returncode == 0, done.stderr
    assert "gpt3-125m: valid for 8 processes" in done.stdout
    assert "layout  pipe 1 x data 8 x tensor 1, ZeRO 1\n" in done.stdout
    assert "256 samples = 524,288 tokens = data 8 x 16 micro-batches x 2" in done.stdout


def test_config_check_tells_the_stages() -> None:
    done = pretrain("config", "check", "gpt3-125m", "parallel={pipe: 2, tensor: 2}", "--processes", "8")
    assert done.returncode == 0, done.stderr
    assert "layout  pipe 2 x data 2 x tensor 2, ZeRO 1, sequence parallel, 1F1B\n" in done.stdout
    assert "stages  pipe 0: embedding, layers 0-7 (50.7%)\n" in done.stdout
    assert "        pipe 1: layers 8-11, head (49.3%)\n" in done.stdout
    assert "data 2 x 64 micro-batches x 2" in done.stdout


def test_config_knows_the_nodes() -> None:
    arguments = ("config", "check", "gpt3-125m", "parallel.tensor=4", "--processes", "12", "--node-size", "6")
    done = pretrain(*arguments, "batch.micro_batch_size=1", "batch.ramp=null", "batch.global_batch_size=255")
    assert done.returncode == 2
    assert "parallel.tensor = 4\n    rule: must divide the processes of a node (6)\n    fix:  parallel.tensor: 2" in (
        done.stderr
    )


def test_config_settles_an_automatic_layout() -> None:
    shown = pretrain("config", "show", "gpt3-125m", "parallel={auto: true, tensor: 2}", "--processes", "4").stdout
    assert shown.startswith("# pipe 1 x data 2 x tensor 2, ZeRO 1, sequence parallel\n")
    assert {"auto": False, "tensor": 2, "pipe": 1, "zero": 1}.items() <= yaml.safe_load(shown)["parallel"].items()


def test_config_constraints_prints_the_page() -> None:
    assert pretrain("config", "constraints").stdout == (ROOT / "docs" / "constraints.md").read_text()


def test_config_check_refuses_with_field_rule_and_fix() -> None:
    done = pretrain("config", "check", "gpt3-125m", "batch.global_batch_size=0.5M")
    assert done.returncode == 2
    assert done.stderr.startswith("pretrain: batch.global_batch_size = '500000 tokens'")
    assert "rule: " in done.stderr and "fix: " in done.stderr and "Traceback" not in done.stderr


def test_config_show_is_a_run_again(tmp_path: Path) -> None:
    shown = pretrain("config", "show", "gpt3-125m", "train.tokens=2M", "schedule.warmup=1k", "schedule.decay=1M").stdout
    (tmp_path / "again.yaml").write_text(shown)
    assert pretrain("config", "show", str(tmp_path / "again.yaml")).stdout == shown
    assert yaml.safe_load(shown)["train"]["tokens"] == 2_000_000


def test_config_show_deepspeed() -> None:
    shown = json.loads(pretrain("config", "show", "gpt3-125m", "--deepspeed", "--processes", "4").stdout)
    assert shown["gradient_accumulation_steps"] == 32


def test_config_schema_describes_every_section() -> None:
    schema = json.loads(pretrain("config", "schema").stdout)
    assert schema["properties"]["batch"]["$ref"] == "#/$defs/Batch"
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    "arguments", [("train", "nowhere.yaml"), ("generate", "nowhere"), ("config", "show", "nowhere")]
)
def test_what_does_not_exist_is_said_in_one_message(arguments: tuple[str, ...]) -> None:
    done = pretrain(*arguments)
    assert done.returncode == 2
    assert arguments[-1] in done.stderr and "fix: " in done.stderr and "Traceback" not in done.stderr


def test_from_text_to_text(tmp_path: Path) -> None:
    """The main job: prepare a small real corpus, train on it, go on, write text."""
    recipe = {
        "name": "small",
        "directory": str(tmp_path / "corpus"),
        "tokenizer": {"train": {"vocab_size": 512, "sample": "400kB"}},
        "sources": {
            "reference": {"kind": "installed-docs", "collection": "language-reference", "weight": 3},
            "stdlib": {
                "kind": "installed-docs",
                "collection": "stdlib-docs",
                "maximum_bytes": "300kB",
                "weight": 1,
            },
        },
        "validation": "5%",
        "workers": 1,
    }
    run = small_run(
        tmp_path / "corpus" / "manifest.json", tmp_path / "run", train={"tokens": 1280}, model={"context": 32}
    )
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    prepared = pretrain("corpus", "prepare", str(tmp_path / "recipe.yaml"))
    assert prepared.returncode == 0, prepared.stderr
    trained = pretrain("train", str(tmp_path / "run.yaml"), "batch.global_batch_size=8", "train.tokens=2560")
    assert trained.returncode == 0, trained.stderr
    assert "loss/stdlib" in trained.stdout and "WARNING" not in trained.stderr
    command = ("generate", str(tmp_path / "run"), "--prompt", "The ", "--max-tokens", "8", "--seed", "3")
    once, again = pretrain(*command), pretrain(*command)
    assert once.returncode == 0, once.stderr
    assert once.stdout.startswith("The ") and len(once.stdout) > len("The \n")
    assert once.stdout == again.stdout and once.stderr == ""


LAUNCHERS = {
    "torchrun": ["torchrun", "--nproc_per_node=2", "--master_port={port}", "-m", "pretrain.train"],
    "deepspeed": ["deepspeed", "--num_gpus=2", "--master_port={port}", "--module", "pretrain.train"],
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers_start_the_same_training(launcher: str, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(small_run(corpus, tmp_path / "run")))
    program, *rest = [part.format(port=free_port()) for part in LAUNCHERS[launcher]]
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PATH": f"{BIN}:{os.environ['PATH']}"}
    command = [str(BIN / program), *rest, str(tmp_path / "run.yaml"), "train.tokens=640"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    state = json.loads((tmp_path / "run" / "checkpoints" / "step-00000010" / "state.json").read_text())
    grid = {"pipe": 1, "data": 2, "tensor": 1}
    assert state["layout"] == {**grid, "schedule": "", "zero": 1, "compute": "fp32", "optimizer": "adamw"}
