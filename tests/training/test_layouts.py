"""P1: loss and gradient norm do not depend on processes, ZeRO stage or micro-batch. A table of named layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.processes import train_processes, train_rows
from tests.synthetic import make_corpus

STEPS = 20

GPT3 = {"layers": 2, "d_model": 32, "heads": 4, "context": 16}
LLAMA = {
    **GPT3,
    "kv_heads": 2,
    "positions": "rope",
    "norm": "rmsnorm",
    "activation": "swiglu",
    "bias": False,
    "tied_embeddings": False,
}

FP32 = {
    "zero0-p1-mb2": (1, 0, 2),
    "zero1-p1-mb8": (1, 1, 8),
    "zero2-p1-mb1": (1, 2, 1),
    "zero3-p1-mb4": (1, 3, 4),
    "zero0-p2-mb1": (2, 0, 1),
    "zero1-p2-mb2": (2, 1, 2),
    "zero2-p2-mb4": (2, 2, 4),
    "zero3-p2-mb1": (2, 3, 1),
    "zero0-p4-mb2": (4, 0, 2),
    "zero1-p4-mb1": (4, 1, 1),
    "zero2-p4-mb1": (4, 2, 1),
    "zero3-p4-mb2": (4, 3, 2),
}
"""name: (processes, ZeRO stage, micro_batch_size), each against one process, ZeRO 0, micro-batch 8 (one pass)."""

BF16 = {"zero1-p1-mb4": (1, 1, 4), "zero1-p2-mb2": (2, 1, 2), "zero2-p2-mb2": (2, 2, 2), "zero3-p2-mb1": (2, 3, 1)}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def run_of(corpus: Path, directory: Path, model: dict[str, Any] = GPT3, **data: Any) -> dict[str, Any]:
    """A run of STEPS steps with a batch ramp, a late mixture and clipping that bites."""
    return {
        "name": "layout",
        "directory": str(directory),
        "train": {"tokens": 16 * (5 * 8 + 15 * 16), "validate_every": "10 steps", "validation_tokens": 160},
        "model": model,
        "data": {
            "manifest": str(corpus),
            "stages": [{"from_tokens": 1600, "mixture": {"wiki": 1, "books": 3}}],
            **data,
        },
        "batch": {"global_batch_size": 16, "micro_batch_size": 8, "ramp": {"start": 8, "tokens": 640}},
        "optimizer": {"learning_rate": 1e-3, "clip": 0.5},
        "schedule": {"warmup": 640},
        "precision": {"compute": "fp32"},
        "parallel": {"zero": 0},
        "monitoring": {"terminal": "none", "tensorboard": False, "peak_tflops": 1},
    }


@pytest.fixture(scope="module")
def reference(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """One fp32 process for each kind of run."""
    kinds: dict[str, dict[str, Any]] = {"gpt3": {}, "llama": {"model": LLAMA}, "masked": {"document_mask": True}}
    directory = tmp_path_factory.mktemp("reference")
    return {kind: train_processes(run_of(corpus, directory / kind, **more), 1) for kind, more in kinds.items()}


def check(rows: list[dict[str, Any]], reference: list[dict[str, Any]], tolerance: float) -> None:
    """Loss, loss per source, gradient norm and validation loss of every step are the reference's."""
    assert len(train_rows(reference, "loss")) == STEPS
    assert [row["kind"] for row in rows] == [row["kind"] for row in reference]
    for row, expected in zip(rows, reference, strict=True):
        assert row.keys() == expected.keys()
        losses = {name: value for name, value in expected.items() if name.partition("/")[0] == "loss"}
        assert {name: row[name] for name in losses} == pytest.approx(losses, abs=tolerance)
        if row["kind"] == "train":
            # a norm of about 1 whose relative error is that of the loss; fp32 sums differ in their order
            assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=10 * tolerance)
            assert row["learning_rate"] == expected["learning_rate"]
            assert row["batch_tokens"] == expected["batch_tokens"]


@pytest.mark.parametrize("name", FP32)
def test_fp32_layouts(name: str, corpus: Path, reference: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    processes, zero, micro_batch_size = FP32[name]
    changes = [f"parallel.zero={zero}", f"batch.micro_batch_size={micro_batch_size}"]
    check(train_processes(run_of(corpus, tmp_path), processes, changes), reference["gpt3"], 1e-5)


@pytest.mark.parametrize("name", BF16)
def test_bf16_layouts(name: str, corpus: Path, reference: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    processes, zero, micro_batch_size = BF16[name]
    changes = [f"parallel.zero={zero}", f"batch.micro_batch_size={micro_batch_size}", "precision.compute=bf16"]
    check(train_processes(run_of(corpus, tmp_path), processes, changes), reference["gpt3"], 3e-3)


def test_llama_style(corpus: Path, reference: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    changes = ["parallel.zero=3", "batch.micro_batch_size=2"]
    check(train_processes(run_of(corpus, tmp_path, LLAMA), 2, changes), reference["llama"], 1e-5)


def test_document_mask(corpus: Path, reference: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    """Micro-batches then have unequal numbers of targets: a mean of means would differ."""
    changes = ["parallel.zero=1", "batch.micro_batch_size=1"]
    rows = train_processes(run_of(corpus, tmp_path, document_mask=True), 2, changes)
    check(rows, reference["masked"], 1e-5)
    assert train_rows(rows, "batch_tokens")[-1] < 16 * 16
