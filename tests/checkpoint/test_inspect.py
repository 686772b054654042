"""`pretrain checkpoint show | verify | diff` on checkpoints of real runs."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from pretrain.checkpoint.diff import Far, far, open_side, parameter_differences
from pretrain.checkpoint.show import align
from pretrain.checkpoint.state import layout_words
from pretrain.checkpoint.verify import verify
from pretrain.checkpoint.weights import find_checkpoint
from pretrain.cli.checkpoint import app
from pretrain.config.errors import ConfigError
from tests.checkpoint.trained import LAYOUTS, copy_of, rewrite, train_layout

ENGINE = "engine/mp_rank_00_model_states.pt"
"""Of one process with ZeRO 0: weights and optimizer in one file."""


@pytest.fixture(scope="module")
def runs(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same training under every layout."""
    root = tmp_path_factory.mktemp("runs")
    return {name: train_layout(name, corpus, root / name) for name in LAYOUTS}


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_show_tells_position_layout_and_shapes(runs: dict[str, Path]) -> None:
    checkpoint = runs["pipe2"] / "checkpoints" / "step-00000020"
    shown = command("show", checkpoint).stdout
    identity = (runs["pipe2"] / "run_id").read_text().strip()
    assert shown.startswith(
        f"{checkpoint}\n"
        "position    step 20, 1,280 tokens, 80 samples\n"
        f"run         small, id {identity}\n"
        "layout      pipe 2 x data 1 x tensor 1, 1F1B, ZeRO 1, fp32\n"
        "files       12, "
    )
    # 256 x 32 tokens + 16 x 32 positions + 2 blocks of 12 x 32^2 + 13 x 32 + 64 for the last norm; 45 of 256 rows pad
    assert re.search(r"\d+kB, whole by their sizes\n", shown)
    assert shown.endswith(
        "optimizer   adamw: exp_avg, exp_avg_sq\n"
        "parameters  34,176, 1,440 of them padding of the vocabulary\n"
        "\n"
        "embedding.tokens.weight             [256, 32]\n"
        "embedding.positions.weight          [16, 32]\n"
        "blocks.*.attention_norm.weight  2 x [32]\n"
        "blocks.*.attention_norm.bias    2 x [32]\n"
        "blocks.*.attention.qkv.weight   2 x [96, 32]\n"
        "blocks.*.attention.qkv.bias     2 x [96]\n"
        "blocks.*.attention.out.weight   2 x [32, 32]\n"
        "blocks.*.attention.out.bias     2 x [32]\n"
        "blocks.*.mlp_norm.weight        2 x [32]\n"
        "blocks.*.mlp_norm.bias          2 x [32]\n"
        "blocks.*.mlp.up.weight          2 x [128, 32]\n"
        "blocks.*.mlp.up.bias            2 x [128]\n"
        "blocks.*.mlp.down.weight        2 x [32, 128]\n"
        "blocks.*.mlp.down.bias          2 x [32]\n"
        "head.norm.weight                    [32]\n"
        "head.norm.bias                      [32]\n"
        "head.weight                         embedding.tokens.weight\n"
    )


def test_show_of_a_run_lists_all_and_describes_the_newest_whole_one(runs: dict[str, Path], tmp_path: Path) -> None:
    first, newest = copy_of(runs["tensor2"], tmp_path, 10), copy_of(runs["tensor2"], tmp_path, 20)
    (newest / "rng-00001.pt").unlink()
    table, contents = command("show", tmp_path).stdout.split("\n\n")[:2]
    layout = "pipe 1 x data 1 x tensor 2, ZeRO 1, fp32"
    assert re.sub(r"\d+kB", "...kB", table).splitlines()[1:] == [
        f"step-00000020    20   1,280  ...kB  {layout}  rng-00001.pt is missing",
        f"step-00000010    10     640  ...kB  {layout}  whole",
    ]
    assert contents.startswith(f"{first}\nposition    step 10, 640 tokens, 40 samples\n")
    (newest / "files.json").write_text("[]")
    assert "  files.json cannot be read: " in command("show", tmp_path).stdout


def test_show_as_json(runs: dict[str, Path]) -> None:
    shown = json.loads(command("show", runs["zero3"], "--json", "--parameters").stdout)
    assert [row["step"] for row in shown["checkpoints"]] == [20, 10]
    newest = shown["newest"]
    numbers = {"compute": "fp32", "optimizer": "adamw"}
    assert newest["layout"] == {"pipe": 1, "data": 2, "tensor": 1, "schedule": "", "zero": 3, **numbers}
    assert newest["bytes"] == sum(newest["files"].values()) and newest["damage"] is None
    assert newest["shapes"]["blocks.1.mlp.up.weight"] == [128, 32]
    alone = json.loads(command("show", runs["zero3"] / "checkpoints" / "step-00000020", "--json").stdout)
    assert alone == {name: value for name, value in newest.items() if name != "values"}


def test_show_parameters_are_the_values(runs: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = copy_of(runs["one"], tmp_path)
    norm = torch.tensor([-3.0, 1.0] * 16)  # mean -1, deviation 2
    rewrite(checkpoint, ENGINE, lambda held: held["module"]["head.norm.weight"].copy_(norm))
    numbers = json.loads(command("show", checkpoint, "--json", "--parameters").stdout)["values"]["head.norm.weight"]
    assert numbers["weight"] == {"mean": -1.0, "std": 2.0, "min": -3.0, "max": 1.0, "largest": 3.0}
    assert set(numbers) == {"weight", "exp_avg", "exp_avg_sq"} and numbers["exp_avg_sq"]["min"] >= 0
    lines = command("show", checkpoint, "--parameters").stdout.splitlines()
    assert len([line for line in lines if " exp_avg_sq " in line]) == 28
    (line,) = [line for line in lines if re.match(r"head.norm.weight +weight ", line)]
    assert line.split()[2:] == ["-1.000e+00", "2.000e+00", "-3.000e+00", "1.000e+00", "3.000e+00"]


def test_columns() -> None:
    assert align([("a", "1"), ("bcd", "23")], left={0}) == "a     1\nbcd  23"
    layout = {"pipe": 2, "data": 3, "tensor": 4, "schedule": "dualpipev", "zero": 1, "compute": "bf16"}
    assert layout_words(layout) == "pipe 2 x data 3 x tensor 4, DualPipeV, ZeRO 1, bf16"


@pytest.mark.parametrize("name", LAYOUTS)
def test_verify_of_a_whole_run(name: str, runs: dict[str, Path]) -> None:
    done = command("verify", runs[name])
    whole = "every file is as it was written, every parameter is there and finite"
    folders = [runs[name] / "checkpoints" / step for step in ("step-00000020", "step-00000010")]
    assert done.exit_code == 0 and done.stdout.splitlines() == [f"{folder}: {whole}" for folder in folders]
    assert "step-00000010 parameters: 28 of 28, head.norm.bias\n" in done.stderr


def test_verify_names_every_damaged_file(runs: dict[str, Path], tmp_path: Path) -> None:
    whole, harmed = copy_of(runs["pipe2"], tmp_path, 20), copy_of(runs["pipe2"], tmp_path, 10)
    (altered, *_) = (harmed / "engine").glob("*optim_states.pt")
    raw = bytearray(altered.read_bytes())
    raw[len(raw) // 2] ^= 1
    altered.write_bytes(raw)
    (harmed / "rng-00000.pt").unlink()
    (harmed / "run.yaml").write_bytes(b"cut short")
    done = command("verify", tmp_path)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{whole}: every file")
    assert [line.removeprefix(f"{harmed}: ") for line in lines[1:]] == [
        f"engine/{altered.name} was altered: its SHA-256 is not the one it was written with",
        "rng-00000.pt cannot be read: No such file or directory",
        f"run.yaml has 9 bytes instead of {(whole / 'run.yaml').stat().st_size:,}",
    ]


@pytest.mark.parametrize("listed", ["{", "[]", '{"state.json": {"bytes": 3}}'])
def test_verify_of_a_broken_list_of_files(listed: str, runs: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = copy_of(runs["one"], tmp_path)
    (checkpoint / "files.json").write_text(listed)
    (problem,) = verify(checkpoint)
    assert problem.startswith("files.json cannot be read: ")


def test_verify_names_the_first_number_that_is_not_finite(runs: dict[str, Path], tmp_path: Path) -> None:
    def plant(held: dict[str, Any]) -> None:
        held["optimizer"]["state"][3]["exp_avg_sq"][5, 7] = math.inf  # the fourth matrix: blocks.0.attention.out.weight
        held["module"]["head.norm.bias"][2:4] = math.nan

    checkpoint = copy_of(runs["one"], tmp_path)
    rewrite(checkpoint, ENGINE, plant)
    done = command("verify", checkpoint)
    assert done.exit_code == 1
    wrong = "the exp_avg_sq of blocks.0.attention.out.weight is inf at [5, 7] (1 of 1,024 entries)"
    assert done.stdout == f"{checkpoint}: {wrong}\n"


def test_verify_names_a_parameter_that_is_not_there(runs: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = copy_of(runs["zero3"], tmp_path)
    for file in (checkpoint / "engine").glob("*model_states.pt"):
        rewrite(checkpoint, f"engine/{file.name}", lambda held: held["param_shapes"][1].pop("head.norm.bias"))
    assert verify(checkpoint) == ["the weight of head.norm.bias cannot be read: head.norm.bias"]


def test_verify_names_a_parameter_of_another_size(runs: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = copy_of(runs["one"], tmp_path)
    short = torch.zeros(31)
    rewrite(checkpoint, ENGINE, lambda held: held["module"].update({"head.norm.bias": short}))
    (problem,) = verify(checkpoint)
    assert problem.startswith(
        "the weight of head.norm.bias cannot be read: shape '[32]' is invalid for input of size 31"
    )


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "one"])
def test_layouts_train_the_same(name: str, runs: dict[str, Path]) -> None:
    done = command("diff", runs["one"], runs[name], "--tolerance", 2e-5)
    assert done.exit_code == 0, done.stdout
    assert done.stdout.splitlines()[-1].endswith(": within 2e-05")
    fields = done.stdout.split("\n\n")[1].splitlines()
    changed = {"tensor2": {"layout.tensor"}, "pipe2": {"layout.pipe", "layout.schedule"}, "zero3": {"layout.data"}}
    assert {line.split()[0] for line in fields[1:]} == {"run_id", "layout.zero"} | changed[name]
    assert command("diff", runs["one"], runs[name]).exit_code == 1  # sums in another order


def test_a_checkpoint_is_identical_to_itself(runs: dict[str, Path]) -> None:
    done = command("diff", runs["tensor2"], runs["tensor2"] / "checkpoints" / "step-00000020")
    assert done.exit_code == 0
    assert done.stdout.endswith("\n\nno field differs\n\nidentical: weights and moments of all 28 parameters\n")


def test_diff_says_where_and_by_how_much(runs: dict[str, Path], tmp_path: Path) -> None:
    def plant(held: dict[str, Any]) -> None:
        held["module"]["blocks.1.mlp.up.bias"].fill_(0.5)
        held["optimizer"]["state"][9]["exp_avg"].zero_()  # the tenth matrix: blocks.1.mlp.down.weight

    a, b = copy_of(runs["one"], tmp_path / "a"), copy_of(runs["one"], tmp_path / "b")
    rewrite(a, ENGINE, lambda held: held["module"]["blocks.1.mlp.up.bias"].fill_(0.25))
    rewrite(b, ENGINE, plant)
    done = command("diff", a, b, "--tolerance", 0.5)
    up, down = done.stdout.split("\n\n")[2].splitlines()[1:]
    assert up.split() == ["blocks.1.mlp.up.bias", "2.50e-01", "5.00e-01", "0", "0", "0", "0"]
    assert down.split()[:3] == ["blocks.1.mlp.down.weight", "0", "0"] and down.split()[4:] == ["1.00e+00", "0", "0"]
    assert done.exit_code == 1 and done.stdout.splitlines()[-1] == (
        "weights differ by up to 2.50e-01 (blocks.1.mlp.up.bias), "
        "moments by up to 1.00e+00 of their largest entry (blocks.1.mlp.down.weight): more than 0.5"
    )
    assert command("diff", a, b, "--tolerance", 1).exit_code == 0


def test_diff_of_two_steps_says_so(runs: dict[str, Path]) -> None:
    folder = runs["one"] / "checkpoints"
    done = command("diff", folder / "step-00000010", folder / "step-00000020")
    assert done.exit_code == 1
    assert re.search(r"^tokens +640 +1280$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("change", "field", "compared"),
    [({"d_model": 16}, r"model\.d_model +32 +16", False), ({"heads": 2}, r"model\.heads +4 +2", True)],
)
def test_another_model_is_said_by_field(
    change: dict[str, int], field: str, compared: bool, runs: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    done = command("diff", runs["one"], train_layout("one", corpus, tmp_path, model=change), "--tolerance", 100)
    assert done.exit_code == 1 and re.search(rf"^{field}$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("these are different models\n") and ("within 100" in done.stdout) == compared


def test_what_is_not_finite_is_far_from_everything() -> None:
    one, nan = torch.tensor([1.0, -4.0]), torch.tensor([math.nan, 0.0])
    assert far(one, torch.tensor([1.0, -2.0])) == Far(2.0, 0.5)
    assert far(torch.zeros(2), torch.zeros(2)) == Far(0.0, 0.0)
    assert far(one, nan) == far(nan, nan) == far(one / 0, one / 0) == Far(math.inf, math.inf)


def test_bad_input_is_said(runs: dict[str, Path], tmp_path: Path) -> None:
    for arguments in (("show", tmp_path), ("verify", tmp_path), ("diff", runs["one"], tmp_path)):
        with pytest.raises(ConfigError, match="must be a checkpoint or a run directory that has one"):
            command(*arguments)
    checkpoint = copy_of(runs["one"], tmp_path)
    (checkpoint / ENGINE).write_bytes(b"cut short")
    with pytest.raises(ConfigError, match=f"is damaged: {ENGINE} has 9 bytes instead of"):
        command("diff", runs["one"], checkpoint)


def test_a_file_that_cannot_be_read_is_named(runs: dict[str, Path], tmp_path: Path) -> None:
    """Of the right size, so that only reading it finds out."""
    checkpoint = copy_of(runs["one"], tmp_path)
    size = (checkpoint / ENGINE).stat().st_size
    (checkpoint / ENGINE).write_bytes(bytes(size))
    side, other = open_side(find_checkpoint(runs["one"])), open_side(checkpoint)
    with pytest.raises(ConfigError, match=r"the weight of embedding\.tokens\.weight cannot be read"):
        next(parameter_differences(side, other))
    with pytest.raises(ConfigError, match="`pretrain checkpoint verify` names the damaged file"):
        command("show", checkpoint, "--parameters")


def test_the_models_of_the_files_must_agree(runs: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = copy_of(runs["one"], tmp_path)
    text = (checkpoint / "run.yaml").read_text()
    (checkpoint / "run.yaml").write_text(text.replace("d_model: 32", "d_model: 16"))
    with pytest.raises(ConfigError, match=r"run\.yaml has the model [0-9a-f]{16}, state\.json says [0-9a-f]{16}"):
        command("show", checkpoint)
