"""A real run that is looked into and that tells: what is in the rows, who is told, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pretrain.config.metric_names import metric_names
from pretrain.config.model import Model
from pretrain.monitoring.jsonl import read_rows
from tests.example import small_run
from tests.monitoring.test_sinks import wandb_records
from tests.processes import told, train_processes
from tests.server import Server
from tests.synthetic import WEIGHTS

EVERY = {"inside": {"every": "5 steps", "noise_decay": 0.5}}
ALERTS = [
    {"metric": "loss", "above": 1},
    {"metric": "inside/attention_entropy/*", "below": 0},
    {"metric": "inside/grad_norm/blocks.1.mlp", "above": 0},
    {"event": ["ended", "spike"]},
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server([200])
    yield server
    server.close()


@pytest.fixture(scope="module")
def directories(corpus: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run three times: `plain`, `inside`, and `ended` after 12 steps and gone on with all that tells."""
    paths = {name: tmp_path_factory.mktemp(name) for name in ("plain", "inside", "ended")}
    constant = {"schedule": {"name": "constant"}}
    train_processes(small_run(corpus, paths["plain"], **constant), 1)
    train_processes(small_run(corpus, paths["inside"], **constant, monitoring=EVERY), 1)
    address = paths["plain"].parent / "address"
    address.write_text(server.address + "\n")
    telling = {"alerts": ALERTS, "webhook": {"url_file": str(address)}, "wandb": {"mode": "offline"}}
    run = small_run(corpus, paths["ended"], **constant, monitoring={**EVERY, **telling})
    train_processes(run, 1, ["train.tokens=768"])
    train_processes(run, 1)
    assert "going on from" in told(run)
    return paths


def rows(directory: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_rows(directory / "metrics.jsonl") if row["kind"] == kind]


def test_training_is_what_it_is_without(directories: dict[str, Path]) -> None:
    plain, inside = ([(r["loss"], r["grad_norm"]) for r in rows(directories[n], "train")] for n in ("plain", "inside"))
    assert len(plain) == 20 and inside == plain
    assert rows(directories["plain"], "inside") == []


def test_norms_of_parts_make_the_norm_of_all(directories: dict[str, Path]) -> None:
    norms = {row["step"]: row["grad_norm"] for row in rows(directories["inside"], "train")}
    found = rows(directories["inside"], "inside")
    assert [row["step"] for row in found] == [5, 10, 15, 20]
    for row in found:
        squares = [value**2 for name, value in row.items() if name.startswith("grad_norm/")]
        assert sum(squares) ** 0.5 == pytest.approx(norms[row["step"]], rel=1e-5)


def test_numbers_are_what_they_must_be(directories: dict[str, Path]) -> None:
    """Two blocks, d_model 32, 16 tokens, weights 0.02 wide; Adam's first steps are about the learning rate, 1e-3."""
    row = rows(directories["inside"], "inside")[0]
    assert row["attention_entropy/blocks.0"] == pytest.approx(1.92, abs=0.03)  # mean of log(1) ... log(16): 1.917
    assert 0 < row["attention_entropy_min/blocks.1"] <= row["attention_entropy/blocks.1"]
    assert row["weight_norm/blocks.0.mlp"] == pytest.approx(1.5, abs=0.3)
    assert row["update_ratio/embedding.tokens"] == pytest.approx(1e-3 / 0.02, rel=0.9)
    assert row["activation_rms/embedding"] == pytest.approx(0.03, abs=0.01)
    assert row["activation_max/blocks.1"] > row["activation_rms/blocks.1"] > 0
    assert 0 < row["mlp_zero/blocks.0"] < 0.5


def test_every_name_is_known(directories: dict[str, Path]) -> None:
    """What alerts may be about is what is written."""
    model = Model.parse({"layers": 2, "d_model": 32, "heads": 4, "context": 16})
    known = set(metric_names(model, WEIGHTS))
    for row in read_rows(directories["ended"] / "metrics.jsonl"):
        prefix = "" if row["kind"] == "train" else f"{row['kind']}/"
        if row["kind"] != "event":
            assert {prefix + name for name in row} - {f"{prefix}{axis}" for axis in ("kind", "step", "tokens")} <= known


def test_a_resume_goes_on_with_the_averages(directories: dict[str, Path]) -> None:
    assert rows(directories["ended"], "inside") == rows(directories["inside"], "inside")
    assert any("noise_scale_tokens" in row for row in rows(directories["inside"], "inside"))


def test_alerts_reach_everybody(directories: dict[str, Path], server: Server) -> None:
    """Of each start: the loss once, one number inside once, the end; nothing about entropies below 0."""
    alerts = [row for row in rows(directories["ended"], "event") if row.get("what") == "alert"]
    rules = ["loss above 1", "inside/grad_norm/blocks.1.mlp above 0", "ended or spike"]
    assert [row["rule"] for row in alerts] == rules * 2
    assert [row["step"] for row in alerts] == [1, 5, 12, 13, 15, 20]
    assert alerts[-1]["message"] == "ALERT: finished"
    assert [body["rule"] for body in server.bodies] == rules * 2
    assert server.bodies[0]["text"].startswith("small, step 1: ALERT: loss is 5.")
    log = (directories["ended"] / "logs" / "train.log").read_text()
    assert f"step       1  {alerts[0]['message']}" in log
    sent = [record["alert"] for record in wandb_records(directories["ended"]) if record["type"] == "alert"]
    assert [(alert["title"], alert["text"]) for alert in sent] == [(row["rule"], row["message"]) for row in alerts]


def test_the_address_is_nowhere(directories: dict[str, Path]) -> None:
    files = [path for path in directories["ended"].rglob("*") if path.is_file()]
    assert any(path.name == "run.yaml" for path in files)
    assert [path for path in files if b"secret-0123456789" in path.read_bytes()] == []


@pytest.fixture(scope="module")
def alone(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process sees in five steps."""
    return look(corpus, tmp_path_factory.mktemp("alone"), 1, zero=0)


def look(corpus: Path, directory: Path, processes: int, **parallel: Any) -> list[dict[str, Any]]:
    """Five looks in a row, with masked documents: micro-batches have unequal numbers of targets."""
    changes: dict[str, Any] = {"data": {"document_mask": True}, "model": {"dropout": 0.0}, "parallel": parallel}
    run = small_run(corpus, directory, **changes, monitoring={"inside": {"every": "1 steps"}})
    train_processes(run, processes, ["train.tokens=320"])
    return rows(directory, "inside")


@pytest.mark.parametrize(("processes", "parallel"), [(2, {"pipe": 2}), (4, {"tensor": 2, "zero": 2})])
def test_every_layout_sees_the_same(
    processes: int, parallel: dict[str, Any], alone: list[dict[str, Any]], corpus: Path, tmp_path: Path
) -> None:
    """The noise too, of micro-batches of one size: tied embedding on two stages, ZeRO, tensor parts."""
    found = look(corpus, tmp_path, processes, **parallel)
    assert [row.keys() for row in found] == [row.keys() for row in alone] and len(alone) == 5
    assert any("noise_scale_tokens" in row for row in alone)
    for row, expected in zip(found, alone, strict=True):
        assert {n: v for n, v in row.items() if n != "kind"} == pytest.approx(
            {n: v for n, v in expected.items() if n != "kind"}, rel=2e-4, abs=1e-9
        )
