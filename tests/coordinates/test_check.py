"""With muP what training moves does not depend on the width; without it, it does (Yang et al. 2022, figure 5)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretrain.coordinates.check import Coordinates, look
from pretrain.coordinates.figure import coordinate_figure
from pretrain.coordinates.measure import scores
from pretrain.coordinates.text import lines
from pretrain.data.batch import Batch, make_batch
from tests.config.example import make_run

WIDTHS = (32, 64, 128)
MUP = {"base_d_model": 32}


def batches() -> list[Batch]:
    """Few of 64 tokens are frequent, so that there is something to learn in four steps."""
    drawn = np.random.default_rng(0).random((4, 4, 33))
    return [make_batch((64 * rows**3).astype(np.int32), np.zeros(4, dtype=np.int64)) for rows in drawn]


def coordinates(mup: dict[str, Any] | None, **model: Any) -> Coordinates:
    shape = {"d_model": 32, "heads": 4, "context": 32, "vocab_size": 64, "vocab_multiple": 64, "mup": mup}
    run = make_run(model=shape | model, optimizer={"learning_rate": 1e-2})
    return Coordinates(run, dict(look(run, batches(), WIDTHS)))


@pytest.fixture(scope="module")
def standard() -> Coordinates:
    return coordinates(None)


@pytest.fixture(scope="module")
def mup() -> Coordinates:
    return coordinates(MUP)


def test_without_mup_wide_models_are_moved_farther(standard: Coordinates) -> None:
    assert standard.depending[:4] == ["attention scores", "attention", "mlp", "residual stream"]
    assert standard.exponent("residual stream") > 0.8
    assert standard.exponent("embedding") == pytest.approx(0, abs=0.1)


def test_with_mup_all_are_moved_as_far(mup: Coordinates) -> None:
    assert mup.depending == []
    for place in ("embedding", "mlp", "residual stream", "logits"):
        assert mup.exponent(place) == pytest.approx(0, abs=0.25), place


def test_at_the_base_width_nothing_is_changed(standard: Coordinates, mup: Coordinates) -> None:
    assert standard.sizes[32] == mup.sizes[32]


@pytest.mark.parametrize(
    "model",
    [
        {"mup": {**MUP, "base_d_head": 8, "embedding_multiplier": 4, "output_multiplier": 2}},
        {"mup": MUP, "tied_embeddings": False, "positions": "rope", "norm": "rmsnorm", "activation": "swiglu"},
    ],
)
def test_other_members_of_the_family(model: dict[str, Any]) -> None:
    assert coordinates(**model).depending == []


def test_scores_are_those_before_the_softmax() -> None:
    """Two queries of one head: the first sees one key, the second two with scores 1 and 6 / sqrt(2), mean 3.5."""
    q, k = torch.tensor([[[[3.0, 4], [1, 3]]]]), torch.tensor([[[[1.0, 0], [0, 2]]]])
    first, second = scores(q, k)[0, 0].tolist()
    assert first == [0, 0]
    assert second == pytest.approx([-2.5 / 2**0.5, 2.5 / 2**0.5], rel=1e-6)


def test_words_and_picture(standard: Coordinates, mup: Coordinates, tmp_path: Path) -> None:
    *_, last = lines(mup)
    assert last == "does not depend on the width: exponents are within 0.5 of 0"
    *table, last = lines(standard)
    assert last.startswith("depends on the width: ") and last.endswith("model.mup makes learning rates follow from it")
    assert table[1].split() == ["d_model", "32", "64", "128", "grows", "as"]
    figure = coordinate_figure(mup)
    assert figure.axes[0].get_title().startswith("embedding: width^")
    assert len(figure.axes) == 6 and all(len(axes.lines) == 4 for axes in figure.axes)
    figure.savefig(tmp_path / "mup.png")


def test_it_can_be_written_down(mup: Coordinates) -> None:
    plain = json.loads(json.dumps(mup.plain()))
    assert plain["depending"] == [] and set(plain["widths"]) == {"32", "64", "128"}
    assert len(plain["widths"]["64"]["moved"]["mlp"]) == 4
