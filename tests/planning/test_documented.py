"""docs/planning.md: each command there prints what stands there."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.test_plan import plan

PAGE = Path(__file__).parents[2] / "docs" / "planning.md"
SHOWN = re.findall(r"```\n\$ pretrain plan ([^\n]*)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(("arguments", "shown"), [pair for pair in SHOWN if "rule:" not in pair[1]])
def test_a_command_prints_what_the_page_shows(arguments: str, shown: str) -> None:
    """After a change of the model or of a cluster's figures: run it, look at it, and put it there."""
    assert plan(*shlex.split(arguments)).strip() == shown.strip()


def test_the_page_shows_three_models_and_an_answer() -> None:
    shown = " ".join(arguments for arguments, _ in SHOWN)
    assert all(words in shown for words in ("gpt3-1.3b", "gpt3-13b", "gpt3-175b", "--budget 1024xA100x34d"))
