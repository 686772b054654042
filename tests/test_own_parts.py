"""docs/own-parts.md: every example on the page, written where it says and run as it stands there."""

from __future__ import annotations

import hashlib
import json
import mailbox
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pretrain.config.load import merge
from tests.example import small_run
from tests.synthetic import make_corpus

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own-parts.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mylab/ as the page has it."""
    folder = tmp_path_factory.mktemp("laboratory")
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, flags=re.S)
    assert {name for name, _ in blocks} >= {
        "mylab/optim.py",
        "mylab/schedules.py",
        "mylab/sinks.py",
        "mylab/layers.py",
        "mylab/sources.py",
        "mylab/rules.py",
    }
    (folder / "mylab").mkdir()
    for name, text in blocks:
        (folder / name).write_text(text)
    make_corpus(folder / "corpus")
    return folder


def written(kind: str) -> dict[str, Any]:
    """All YAML of the page for a run or a recipe, as one."""
    whole: dict[str, Any] = {}
    for text in re.findall(rf"```yaml\n# {kind}\n(.*?)```", PAGE, flags=re.S):
        whole = merge(whole, yaml.safe_load(text))
    return whole


def pretrain(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line in `folder`, as a console script: the working directory is not where Python looks."""
    code = "import sys; sys.path.remove(''); from pretrain.cli.main import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def run_file(folder: Path, name: str, **changes: Any) -> str:
    """The page's run on a small model; its name."""
    run = merge(
        merge(small_run(folder / "corpus" / "manifest.json", folder / name, name=name), written("run")), changes
    )
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(run))
    return f"{name}.yaml"


def test_a_run_with_own_parts(laboratory: Path) -> None:
    done = pretrain(laboratory, "train", run_file(laboratory, "run"))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (laboratory / "run" / "metrics.jsonl").read_text().splitlines()]
    best = next(row["loss"] for row in rows if row["kind"] == "validation")
    assert (laboratory / "best.txt").read_text() == f"{best:.4f} nats at step 20\n"
    plain = yaml.safe_load((laboratory / "run" / "run.yaml").read_text())
    assert plain["model"]["mlp"] == {"class": "mylab.layers.SquaredReLU", "scale": 1.0}
    assert plain["optimizer"]["class"] == "mylab.optim.Lion" and plain["optimizer"]["betas"] == [0.95, 0.98]
    rates = [row["learning_rate"] for row in rows if row["kind"] == "train"]
    # warm-up to 128 tokens; then 1e-4 x (1 + cos(pi t / 640)) / 2 at 128, 192, and 704 = 640 + 64 tokens
    assert rates[:3] == pytest.approx([0.5e-4, 0.9045085e-4, 0.7938926e-4])
    assert rates[10] == pytest.approx(0.9755283e-4)
    assert plain["monitoring"]["sinks"] == [{"class": "mylab.sinks.Best", "path": "best.txt"}]


def test_moments_of_an_own_optimizer_go_on_under_another_layout(laboratory: Path) -> None:
    """Saved by one process at half, and on with ZeRO 2 on two: the curve is that of an undisturbed run."""
    whole = run_file(laboratory, "whole", model={"dropout": 0})
    assert pretrain(laboratory, "train", whole).returncode == 0
    half = run_file(laboratory, "half", model={"dropout": 0}, checkpoint={"every": "10 steps", "keep_last": 3})
    assert pretrain(laboratory, "train", half).returncode == 0
    for step in ("20", "latest"):
        path = laboratory / "half" / "checkpoints" / (step if step == "latest" else f"step-{int(step):08d}")
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "pretrain.train"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [half, "parallel.zero=2", "batch.micro_batch_size=1"]
    done = subprocess.run(
        [*command, *words], cwd=laboratory, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stdout
    curves = []
    for name in ("whole", "half"):
        lines = (laboratory / name / "metrics.jsonl").read_text().splitlines()
        curves.append([row["loss"] for row in map(json.loads, lines) if row["kind"] == "train"])
    assert len(curves[0]) == 20 and curves[1] == pytest.approx(curves[0], rel=1e-5)


def test_a_corpus_of_own_documents(laboratory: Path) -> None:
    (laboratory / "mails").mkdir()
    box = mailbox.mbox(laboratory / "mails" / "a.mbox")
    words = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(20)]
    texts = [f"Hello {word}\n> quoted\nbye {word[::-1]}" for word in words] + ["> a\n> b\n> c\nd"]
    for text in texts:
        mail = mailbox.mboxMessage()
        mail.set_payload(text)
        box.add(mail)
    box.close()
    recipe = {"name": "mails", "tokenizer": {"train": {"vocab_size": 512}}, "workers": 1, **written("recipe")}
    (laboratory / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = pretrain(laboratory, "corpus", "prepare", "recipe.yaml")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((laboratory / "corpora" / "mails" / "manifest.json").read_text())
    stages = {stage["name"]: stage for stage in manifest["sources"]["mails"]["stages"]}
    assert stages["read"]["documents_out"] == 21
    assert stages["mylab.rules.NoQuotes"]["documents_out"] == 20
    assert stages["mylab.rules.NoQuotes"]["parameters"] == {"class": "mylab.rules.NoQuotes", "most": 0.6}
    again = pretrain(laboratory, "corpus", "prepare", "recipe.yaml")
    assert "read:" not in again.stderr
    rules = laboratory / "mylab" / "rules.py"
    rules.write_text(rules.read_text() + "\n# changed\n")
    assert "read:" in pretrain(laboratory, "corpus", "prepare", "recipe.yaml").stderr


def test_the_page_shows_the_message_that_is_given(laboratory: Path) -> None:
    sink = {"class": "mylab.sinks.Best", "pth": "best.txt"}
    done = pretrain(laboratory, "config", "check", run_file(laboratory, "bad", monitoring={"sinks": [sink]}))
    shown = re.search(r"```\n(pretrain: monitoring.*?)```", PAGE, flags=re.S)
    assert shown is not None and done.stderr == shown[1]
