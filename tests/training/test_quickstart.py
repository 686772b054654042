"""The quickstart's run on a made-up corpus, with its losses written down: a refactor that changes them is not one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pretrain.config.load import CONFIGS
from pretrain.monitoring.jsonl import read_rows
from tests.processes import train_processes, train_rows

LOSSES = [5.40006, 5.180127, 5.068599, 5.031266, 4.925691, 4.862714, 4.811491, 4.651557]
NORMS = [1.27715, 1.79483, 1.91903, 2.68619, 1.32753, 2.91211, 1.42295, 1.45116]


def test_reference_losses(corpus: Path, tmp_path: Path) -> None:
    run = yaml.safe_load((CONFIGS / "runs" / "quickstart.yaml").read_text())
    run["directory"] = str(tmp_path)
    run["data"]["manifest"] = str(corpus)
    run["train"].update(tokens=8 * 16 * 128, validation_tokens=512, ngram_baselines=False, validate_every=None)
    run["schedule"] = {"warmup": 2048}
    run["monitoring"] = {"terminal": "none", "tensorboard": False, "peak_tflops": 1}
    rows = train_processes(run, 1)
    assert train_rows(rows, "loss") == pytest.approx(LOSSES, abs=1e-5)
    assert train_rows(rows, "grad_norm") == pytest.approx(NORMS, abs=1e-4)


def test_nothing_is_compiled_or_fetched(corpus: Path, tmp_path: Path) -> None:
    """A fresh process with compilers that only leave a note, and no proxy that answers."""
    from tests.example import small_run

    for name in ("cc", "c++", "gcc", "g++", "clang", "clang++", "ninja", "nvcc", "pip", "curl"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/called\nexit 1\n")
        program.chmod(0o755)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(small_run(corpus, tmp_path / "run", parallel={"zero": 2})))
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pretrain.train", str(tmp_path / "run.yaml"), "train.tokens=256"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "called").exists(), (tmp_path / "called").read_text()
    assert not (tmp_path / "extensions").exists()
    assert len(train_rows(list(read_rows(tmp_path / "run" / "metrics.jsonl")), "loss")) == 4
