"""The page of a plan."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pretrain.config.errors import ConfigError
from pretrain.config.hardware import Efficiency, Hardware
from pretrain.planning.layouts.plan import Plan, plan_of
from pretrain.planning.page.landscape import landscape
from pretrain.planning.page.page import told_of, write_page
from tests.planning.jobs import job


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    """Two layouts of a small model on 8 GPUs."""
    return [plan_of(job("gpt3-125m", 8, pipe=pipe)) for pipe in (2, 4)]


@pytest.fixture(scope="module")
def text(plans: list[Plan], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "plan.html"
    write_page(plans, path)
    return path.read_text()


def test_all_sections(text: str) -> None:
    titles = ["Layouts", "Memory", "Time", "Pipeline", "Map of layouts", "Formulas", "Assumptions"]
    assert re.findall(r"<h2>(.*?)</h2>", text) == titles
    assert text.count("<svg") == 4 and "<script" not in text
    assert not re.search(r"(src|href)=.?(http|//)", text)


def test_each_stage_and_each_figure_of_the_hardware_is_told(plans: list[Plan], text: str) -> None:
    for stage in plans[0].stages:
        assert f"{stage.total / 1e9:.2f}" in text
    assert "efficiency.matmul" in text and "memory_bandwidth" in text
    assert all(told for section in (Hardware, Efficiency) for name, told in told_of(section) if name != "gpu")


def test_one_stage_has_no_pipeline(tmp_path: Path) -> None:
    write_page([plan_of(job("gpt3-125m", 8, pipe=1))], tmp_path / "plan.html")
    assert "<h2>Pipeline" not in (tmp_path / "plan.html").read_text()


def test_the_landscape_has_other_layouts_of_as_many_gpus(plans: list[Plan]) -> None:
    found = landscape(plans[0])
    assert {plan.gpus for plan in found} == {8}
    assert {plan.job.layout.pipe for plan in found} >= {1, 2, 4}
    assert len({plan.run.batch.micro_batch_size for plan in found}) > 2


def test_only_html(plans: list[Plan], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be a \.html file"):
        write_page(plans, tmp_path / "plan.png")
