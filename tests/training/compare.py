"""A layout against one process: the same run trained both ways, and how far apart they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.processes import train_processes
from tests.training.layouts import Row, run_of, run_of_row
from tests.training.probe import write_first_gradients

Rows = list[dict[str, Any]]


class Trained(NamedTuple):
    """What a run left behind."""

    rows: Rows
    """Of metrics.jsonl, events left out."""
    gradients: dict[str, torch.Tensor]
    """Whole gradients of the first step, before clipping."""


class Difference(NamedTuple):
    """The largest differences between two runs."""

    loss: float
    """Absolute, in nats; of all training and validation losses, those per source too."""
    norm: float
    """Relative, of the gradient norm."""
    gradient: float
    """Of the first step, relative to the largest entry of that parameter's gradient."""
    parameter: str
    """Where that is."""
    inside: float = 0.0
    """Relative, of the numbers seen inside the model (docs/inside.md); shares of units and largest scores: absolute. As
    `gradient`."""


TOLERANCE = {
    "fp32": Difference(1e-5, 1e-4, 1e-4, ""),
    "bf16": Difference(3e-3, 3e-2, 3e-2, ""),
    "fp16": Difference(4e-4, 4e-3, 4e-3, ""),
}
"""fp32 sums in another order. bf16 has 8 bits of mantissa: its gradients differ by a few of its own steps."""


def train(run: dict[str, Any], processes: int) -> Trained:
    """Train `run` and read what it left."""
    rows = train_processes(run, processes, before=write_first_gradients)
    gradients = torch.load(Path(run["directory"]) / "gradients.pt", weights_only=True)
    return Trained([_comparable(row) for row in rows if row["kind"] != "event"], gradients)


def _comparable(row: dict[str, Any]) -> dict[str, Any]:
    """Without estimates of the noise, which another micro-batch size makes from other parts."""
    return {name: value for name, value in row.items() if not name.startswith("noise_")}


def train_reference(row: Row, corpus: Path, directory: Path) -> Trained:
    """One fp32 process, ZeRO 0."""
    return train(run_of(corpus, directory, *row.objective), 1)


def train_row(row: Row, corpus: Path, directory: Path) -> Trained:
    """The row's own layout."""
    return train(run_of_row(row, corpus, directory), row.processes)


def difference(trained: Trained, reference: Trained) -> Difference:
    """How far apart they are. Raises AssertionError when they do not even have the same steps and columns."""
    assert [row["kind"] for row in trained.rows] == [row["kind"] for row in reference.rows]
    assert len([row for row in reference.rows if row["kind"] == "train"]) == 20
    losses, norms = [], []
    for row, expected in zip(trained.rows, reference.rows, strict=True):
        assert row.keys() - {"loss_scale", "overflow"} == expected.keys() and not row.get("overflow")
        losses += [abs(row[name] - expected[name]) for name in expected if name.partition("/")[0] in ("loss", "z_loss")]
        if row["kind"] == "train":
            assert row["learning_rate"] == expected["learning_rate"]
            assert row["batch_tokens"] == expected["batch_tokens"]
            norms.append(abs(row["grad_norm"] / expected["grad_norm"] - 1))
    gradients = [(_relative(trained.gradients[name], value), name) for name, value in reference.gradients.items()]
    return Difference(max(losses), max(norms), *max(gradients), _inside(trained.rows, reference.rows))


def _inside(rows: Rows, expected: Rows) -> float:
    """The largest difference in rows of looks inside, of which there are two."""
    pairs = [pair for pair in zip(rows, expected, strict=True) if pair[1]["kind"] == "inside"]
    assert len(pairs) == 2
    return max(_apart(name, row[name], value) for row, wanted in pairs for name, value in wanted.items() if "/" in name)


def _apart(name: str, value: float, expected: float) -> float:
    """Shares of units differ by whole units, and the largest of small scores is a sum in which products cancel: its
    rounding is as large as theirs, and 1 is the scale on which softmax sees it."""
    absolute = name.startswith(("mlp_zero", "attention_logit_max"))
    return abs(value - expected) / (1.0 if absolute else abs(expected))


def _relative(gradient: torch.Tensor, expected: torch.Tensor) -> float:
    return ((gradient - expected).abs().max() / expected.abs().max()).item()


def exceeds(found: Difference, tolerance: Difference) -> list[str]:
    """Names of the differences that are too large (or not a number)."""
    wrong = [name for name in ("loss", "norm", "gradient") if not getattr(found, name) <= getattr(tolerance, name)]
    return wrong if found.inside <= tolerance.gradient else [*wrong, "inside"]
