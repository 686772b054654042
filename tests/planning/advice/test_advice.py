"""What a budget can train: GPT-3 on 1,024 A100s for 34 days first of all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain.planning.advice.advice import Advice, advise, presets
from pretrain.planning.advice.budget import parse_budget
from pretrain.planning.advice.figure import advice_figure
from pretrain.planning.advice.laws import BESIROGLU, HOFFMANN_1, KAPLAN, LAWS
from pretrain.planning.advice.text import advice_lines


def advice(text: str) -> Advice:
    return advise(parse_budget(text, {"A100": 312.0}.__getitem__))


def test_presets_have_their_papers_sizes_and_tokens() -> None:
    sizes = {preset.name: (round(preset.parameters / 1e9, 1), preset.tokens) for preset in presets()}
    assert sizes["gpt3-175b"] == (174.6, 300e9)  # Brown et al. 2020, Table D.1
    assert sizes["llama-65b"] == (65.3, 1.4e12)
    assert sizes["hyperclova-204b"] == (204.9, 300e9)
    assert len(sizes) == 14
    assert "tiny" not in sizes
    flops = [preset.flops for preset in presets()]
    assert flops == sorted(flops)
    assert flops[-3] == pytest.approx(3.14e23, rel=2e-3)  # the same table


def test_1024_a100_for_34_days_train_gpt3() -> None:
    found = advice("1024xA100x34d")
    best = found.fitting[-1]
    assert best.name == "gpt3-175b"
    assert found.budget.days(best.flops) == pytest.approx(33.83, abs=0.01)
    assert {preset.name for preset in found.presets} - {preset.name for preset in found.fitting} == {
        "hyperclova-204b",
        "llama-65b",
    }
    answer = "gpt3-175b (174.6B parameters) on 300B tokens can be trained in 33.8 of the 34 days (99.5% of the budget)"
    assert f"answer  {answer}" in list(advice_lines(found))


def test_a_day_less_does_not() -> None:
    assert "gpt3-175b" not in {preset.name for preset in advice("1024xA100x33d").fitting}


def test_what_each_law_makes_of_gpt3s_budget() -> None:
    """3640 PF-days: Kaplan 1.3e9 x 1820^0.73; approach 1 10e9 x sqrt(314.5 / 12.3)."""
    splits = {law.name: split for law, split in advice("3640 PF-days").splits}
    assert splits[KAPLAN.name].parameters == pytest.approx(311.8e9, rel=1e-3)
    assert splits[HOFFMANN_1.name].parameters == pytest.approx(50.6e9, rel=1e-3)
    assert splits[BESIROGLU.name].parameters == pytest.approx(53.0e9, rel=1e-3)


def test_lines_of_flops_and_of_too_few() -> None:
    large = "\n".join(advice_lines(advice("1e24 FLOPs")))
    assert "1e+24 model FLOPs = 1.157e+04 PF-days = 110,229 A100-days" in large
    assert "answer  llama-65b (65.29B parameters) on 1.4T tokens can be trained (54.8% of the budget)" in large
    small = "\n".join(advice_lines(advice("1e20")))
    assert "no preset can be trained: gpt3-125m (0.1252B parameters) on 300B tokens needs 2.25 times" in small
    assert "Besiroglu 2024" in small


@pytest.mark.parametrize("text", ["1024xA100x34d", "1e24"])
def test_as_json(text: str) -> None:
    plain = json.loads(json.dumps(advice(text).plain()))
    gpt3 = next(preset for preset in plain["presets"] if preset["name"] == "gpt3-175b")
    assert gpt3["fits"] is True
    assert gpt3["a100_days"] == pytest.approx(34_643.7, abs=0.1)
    assert (gpt3["days"] is None) == (plain["budget"]["gpus"] is None)
    assert [law["loss"] is None for law in plain["laws"]] == [False, True, True, False, False]


def test_losses_of_gpt3() -> None:
    """Kaplan et al. do not count its embeddings."""
    losses = {law.name: law.loss(174.6e9 if law.with_embeddings else 173.9e9, 300e9) for law in LAWS}
    known = {name: loss for name, loss in losses.items() if loss is not None}
    assert known == pytest.approx(
        {"Kaplan 2020": 1.6614, "Hoffmann 2022, approach 3": 1.9765, "Besiroglu 2024": 2.0086}, abs=1e-4
    )


def test_picture(tmp_path: Path) -> None:
    figure = advice_figure(advice("1024xA100x34d"))
    plane, curves = figure.axes
    names = [text.get_text() for text in plane.texts]
    assert len(names) == 14
    assert len(curves.lines) == 4  # two laws: a curve and its best point
    curve, best = curves.lines[2:]
    assert min(curve.get_ydata()) == best.get_ydata()[0] == pytest.approx(1.992, abs=1e-3)  # type: ignore[arg-type, index]
    figure.savefig(tmp_path / "advice.png")


def test_needs_neither_torch_nor_numpy() -> None:
    heavy = "{'torch', 'numpy', 'matplotlib'}"
    code = (
        f"import sys, pretrain.planning.advice.text, pretrain.planning.advice.figure; print({heavy} & {{*sys.modules}})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
