"""Models out of checkpoints, whatever wrote them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pretrain.checkpoint.weights import find_checkpoint, full_weights, load_tokenizer_of
from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run
from tests.checkpoint.test_state import STATE
from tests.config.example import make_run
from tests.example import small_run
from tests.processes import train_processes
from tests.synthetic import made_up_tokenizer


def weights_of(directory: Path) -> dict[str, torch.Tensor]:
    checkpoint = find_checkpoint(directory)
    return full_weights(checkpoint, load_run(checkpoint / "run.yaml").model)


@pytest.fixture(scope="module")
def single(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    directory = tmp_path_factory.mktemp("single")
    train_processes(small_run(corpus, directory, parallel={"zero": 0}, model={"dropout": 0.0}), 1)
    return weights_of(directory)


@pytest.mark.parametrize(("processes", "zero"), [(2, 1), (2, 2), (2, 3), (3, 3)])
def test_weights_of_every_stage_are_one_process_s(
    single: dict[str, torch.Tensor], corpus: Path, tmp_path: Path, processes: int, zero: int
) -> None:
    batch = {"global_batch_size": 6, "micro_batch_size": 1} if processes == 3 else {}
    run = small_run(corpus, tmp_path, parallel={"zero": zero}, model={"dropout": 0.0}, batch=batch)
    train_processes(run, processes)
    weights = weights_of(tmp_path)
    assert weights.keys() == single.keys()
    assert not [name for name, value in weights.items() if value.requires_grad]
    assert {name: tuple(value.shape) for name, value in weights.items()} == {
        name: tuple(value.shape) for name, value in single.items()
    }
    if processes == 2:  # the same batches, so the same weights up to rounding
        for name, value in single.items():
            assert torch.allclose(weights[name], value, atol=2e-5), name
    assert torch.equal(weights["head.weight"], weights["embedding.tokens.weight"])


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be a checkpoint or a run directory that has one"):
        find_checkpoint(tmp_path)


def test_the_tokenizer_of_a_checkpoint_is_the_model_s(tmp_path: Path) -> None:
    tokenizer = made_up_tokenizer(211)
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "state.json").write_bytes(replace(STATE, tokenizer_fingerprint=tokenizer.fingerprint).encode())
    model = make_run().model.model_copy(update={"vocab_size": 211})
    assert load_tokenizer_of(tmp_path, model).fingerprint == tokenizer.fingerprint
    with pytest.raises(ConfigError, match="has 211 entries, the model's vocabulary 200"):
        load_tokenizer_of(tmp_path, model.model_copy(update={"vocab_size": 200}))
    other = made_up_tokenizer(210)
    other.save(tmp_path / "tokenizer")
    words = f"has fingerprint {other.fingerprint}, the model was trained with {tokenizer.fingerprint}"
    with pytest.raises(ConfigError, match=words):
        load_tokenizer_of(tmp_path, model)
