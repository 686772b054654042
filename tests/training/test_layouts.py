"""P1: loss, gradient norm and gradients do not depend on the layout. `make test-layouts` runs all rows of the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.compare import TOLERANCE, Trained, difference, exceeds, train_reference, train_row
from tests.training.layouts import ROWS, Row


@pytest.fixture(scope="module")
def reference(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Row], Trained]:
    """One fp32 process for each model and mask, trained when it is first asked for."""
    trained: dict[str, Trained] = {}

    def of(row: Row) -> Trained:
        key = f"{row.model} {row.masked}"
        if key not in trained:
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
