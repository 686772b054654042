"""What a real run leaves in each sink, read back with the sinks' own readers."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pretrain.monitoring.jsonl import read_rows
from pretrain.monitoring.lines import clock, train_line
from pretrain.monitoring.live import LiveView, sparkline
from tests.example import small_run
from tests.processes import told, train_processes

WANDB = {"mode": "offline", "project": "tests", "tags": ["small"]}


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps that was ended after 10 and went on, with all sinks."""
    directory = tmp_path_factory.mktemp("run")
    changes: dict[str, Any] = {
        "train": {"validate_every": "10 steps", "ngram_baselines": True},
        "schedule": {"name": "constant"},
        "monitoring": {"tensorboard": True, "wandb": WANDB},
    }
    run = small_run(corpus, directory, **changes)
    train_processes(run, 1, ["train.tokens=640"])
    train_processes(run, 1)
    assert "going on from" in told(run)
    return directory


def wandb_records(directory: Path) -> list[dict[str, Any]]:
    """Every record of the run's offline W&B files, as W&B's own reader prints them."""
    records = []
    for file in sorted((directory / "wandb").glob("offline-run-*/*.wandb")):
        command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        records += [json.loads(line) for line in done.stdout.splitlines()]
    return records


def test_wandb_offline_records_hold_the_metrics(finished: Path) -> None:
    records = wandb_records(finished)
    rows = list(read_rows(finished / "metrics.jsonl"))
    text = [json.dumps(record) for record in records]
    history = [record["history"]["item"] for record in records if record["type"] == "history"]
    train = [row for row in history if "grad_norm" in row]
    assert [row["step"] for row in train] == list(range(1, 21))
    expected = [row for row in rows if row["kind"] == "train"]
    for name in (
        "loss",
        "loss/crawl",
        "grad_norm",
        "learning_rate",
        "tokens",
        "tokens_per_second",
        "mfu",
        "memory_bytes",
    ):
        assert [row.get(name) for row in train] == [row.get(name) for row in expected], name
    validation = [row for row in history if "validation/loss" in row]
    assert [row["validation/bits_per_byte/wiki"] for row in validation] == [
        row["bits_per_byte/wiki"] for row in rows if row["kind"] == "validation"
    ]
    run_id = (finished / "run_id").read_text()
    assert {record["run"]["run_id"] for record in records if record["type"] == "run"} == {run_id}
    assert any('"small"' in line and '"tests"' in line for line in text)
    assert any("manifest_fingerprint" in line for line in text)


def test_tensorboard_holds_each_step_once(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard")).Reload()
    rows = [row for row in read_rows(finished / "metrics.jsonl") if row["kind"] == "train"]
    points = events.Scalars("train/loss")
    assert [point.step for point in points] == list(range(1, 21))
    assert [point.value for point in points] == pytest.approx([row["loss"] for row in rows], rel=1e-6)
    assert len(events.Scalars("validation/loss/wiki")) == 2


def test_the_run_directory_tells_what_was_run(finished: Path) -> None:
    environment = (finished / "environment.txt").read_text()
    assert "torch==" in environment and "== git commit" in environment and "processor" in environment
    assert json.loads((finished / "deepspeed.json").read_text())["train_batch_size"] == 4
    from pretrain.config.load import load_run

    assert load_run(finished / "run.yaml").model.vocab_size == 211
    log = (finished / "logs" / "train.log").read_text()
    assert "step       1  64 tokens" in log and "going on from" in log and "step      20  validation: " in log
    assert (finished / "checkpoints" / "latest").read_text() == "step-00000020"


def test_no_secret_is_written(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API key in the environment of the process appears in no file of the run."""
    from pretrain.monitoring.environment import describe_environment

    monkeypatch.setenv("WANDB_API_KEY", "secret-0123456789")
    assert "secret-0123456789" not in describe_environment(tmp_path)


def test_baselines_are_told(finished: Path) -> None:
    (row,) = [row for row in read_rows(finished / "metrics.jsonl") if row["kind"] == "baseline"]
    assert 0 < row["bigram"] < row["unigram"] < 6


ROW: dict[str, float | int | str] = {
    "step": 1200, "tokens": 2_457_600, "loss": 3.25, "loss/web": 3.0, "loss/wiki": 3.5, "grad_norm": 0.51,
    "learning_rate": 6e-4, "tokens_per_second": 8192.0, "tflops": 0.05, "mfu": 0.423, "data_seconds": 0.002,
    "memory_bytes": 2**30,
}  # fmt: skip


def test_plain_line() -> None:
    assert train_line(ROW, 4_915_200) == (
        "step   1,200  2.46M tokens  loss 3.2500  grad norm 0.510  lr 6.00e-04  8.19k tokens/s  MFU 42.3%  "
        "data wait 2 ms  5:00 left"
    )


def test_live_view() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    view = LiveView("tiny", 4_915_200, console)
    view.write("train", ROW)
    view.write("validation", {"step": 1200, "tokens": 1, "loss": 3.3, "loss/web": 3.1, "bits_per_byte/web": 1.25})
    view.write("event", {"step": 1200, "tokens": 1, "message": "going on from step-00000100"})
    view.close()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("tiny", "2.46M of 4.92M tokens, 5:00 left", "3.2500", "42.3%", "web", "1.2500", "going on from"):
        assert part in shown, part


def test_sparkline() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([8.0] * 100 + [1.0] * 100, 4) == "██▁▁"
    assert sparkline([2.0], 5) == "▁"


def test_clock() -> None:
    assert [clock(n) for n in (5, 65, 3723, 273_900)] == ["0:05", "1:05", "1:02:03", "3d 04:05"]
