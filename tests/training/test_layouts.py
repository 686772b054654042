"""P1: loss, gradient norm and gradients do not depend on the layout. `make test-layouts` runs all rows of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, product
from pathlib import Path

import pytest

from pretrain.config.constraints import check_run
from pretrain.config.load import merge
from pretrain.config.run import Run
from tests.training.compare import TOLERANCE, Trained, difference, exceeds, train_reference, train_row
from tests.training.layouts import ROWS, Row, run_of_row


@pytest.fixture(scope="module")
def reference(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Row], Trained]:
    """One fp32 process for each model and mask, trained when it is first asked for."""
    trained: dict[str, Trained] = {}

    def of(row: Row) -> Trained:
        if (key := str(row.objective)) not in trained:
            trained[key] = train_reference(row, corpus, tmp_path_factory.mktemp("reference"))
        return trained[key]

    return of


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.slow])
def test_layout(name: str, corpus: Path, reference: Callable[[Row], Trained], tmp_path: Path) -> None:
    row = ROWS[name]
    found = difference(train_row(row, corpus, tmp_path), reference(row))
    assert not exceeds(found, TOLERANCE[row.compute]), found


def test_masked_micro_batches_are_unequal(corpus: Path, reference: Callable[[Row], Trained]) -> None:
    """Else a mean of means would not be noticed."""
    targets = [row["batch_tokens"] for row in reference(ROWS["pair-gpt3-p2-masked"]).rows if row["kind"] == "train"]
    assert targets[-1] < 16 * 16 and len(set(targets)) > 5


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_valid(name: str, tmp_path: Path) -> None:
    """Also those that only `make test-layouts` trains."""
    run = run_of_row(ROWS[name], tmp_path / "manifest.json", tmp_path)
    check_run(Run.parse(merge(run, {"model": {"vocab_size": 211}})), ROWS[name].processes)


def test_the_rows_cover_every_pair() -> None:
    """Each valid pair of values of two settings is in a `pair-` row."""
    rows = [_settings(row) for name, row in ROWS.items() if name.startswith("pair-")]
    found = {frozenset(pair) for row in rows for pair in combinations(row.items(), 2)}
    wanted = {frozenset(pair) for row in _possible() for pair in combinations(row.items(), 2)}
    assert not wanted - found


def _settings(row: Row) -> dict[str, object]:
    layout = row.parallel
    return {
        "style": "gpt3" if "kv_heads" not in row.model else "llama",
        "tensor": layout["tensor"],
        "pipe": layout["pipe"],
        "data": row.processes // (layout["tensor"] * layout["pipe"]),
        "zero": layout["zero"],
        "sequence": layout.get("sequence_parallel", layout["tensor"] > 1),
        "recompute": layout.get("recompute", "none"),
        "schedule": layout.get("schedule", "1f1b"),
        "micro": row.micro_batch_size,
        "masked": row.masked,
    }


def _possible() -> Iterator[dict[str, object]]:
    """Every combination that the constraint table allows on up to 8 processes."""
    for style, tensor, pipe, data, zero, sequence, recompute, schedule, micro, masked in product(
        ("gpt3", "llama"), (1, 2, 4), (1, 2, 4), (1, 2), (0, 1, 2, 3), (True, False),
        ("none", "selective", "full"), ("1f1b", "dualpipev"), (1, 2), (False, True),
    ):  # fmt: skip
        fits = tensor * pipe * data <= 8 and (zero == 1 or pipe == 1) and (tensor > 1 or not sequence)
        if fits and (schedule == "1f1b" or (pipe > 1 and 16 // (micro * data) >= 2 * pipe)):
            names = ["style", "tensor", "pipe", "data", "zero", "sequence", "recompute", "schedule", "micro", "masked"]
            values = (style, tensor, pipe, data, zero, sequence, recompute, schedule, micro, masked)
            yield dict(zip(names, values, strict=True))
