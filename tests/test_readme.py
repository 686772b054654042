"""What the README shows is true."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from pretrain.config.constraints import check_run
from pretrain.config.load import load_run

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_run_it_shows_is_valid(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "run.yaml").write_text(block)
    run = load_run(tmp_path / "run.yaml")
    check_run(run, 4)
    assert run.batch.global_batch_size.samples(run.sequence_length) == 256
    assert yaml.safe_load(block)["name"] == "my-run"


def test_every_file_it_links_is_there() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("benchmarks/*.md"), *ROOT.glob("launch/*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README + (ROOT / "benchmarks" / "README.md").read_text()
