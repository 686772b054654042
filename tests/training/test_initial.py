"""Runs that start from imported weights: any layout, a fresh optimizer, and no need of the directory afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from pretrain.checkpoint.files import list_checkpoints
from pretrain.checkpoint.huggingface.export import export
from pretrain.checkpoint.huggingface.import_ import import_model
from pretrain.checkpoint.state import GONE, read_state
from pretrain.checkpoint.weights import find_checkpoint, full_weights
from pretrain.config.load import load_run
from tests.checkpoint.huggingface.models import byte_tokenizer, make_byte_corpus, write_huggingface
from tests.example import small_run
from tests.processes import finish, start, told, train_processes, train_rows


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_byte_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA with grouped queries."""
    folder = tmp_path_factory.mktemp("imported")
    write_huggingface(folder / "theirs", "llama", std=0.05, num_key_value_heads=2, num_hidden_layers=2)
    import_model(folder / "theirs", folder / "ours")
    return folder / "ours"


def run_from(imported: Path, corpus: Path, directory: Path, **changes: Any) -> dict[str, Any]:
    run = small_run(corpus, directory, train={"initial_weights": str(imported)}, data={"sequence_length": 16})
    run["model"] = {"preset": str(imported / "model.yaml")}
    for section, fields in changes.items():
        run[section] = {**run.get(section, {}), **fields}
    return run


@pytest.fixture(scope="module")
def alone(imported: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The rows of one process."""
    run = run_from(imported, corpus, tmp_path_factory.mktemp("alone"), parallel={"zero": 0})
    rows = train_processes(run, 1)
    assert "starting from LlamaForCausalLM in" in told(run)
    return rows


LAYOUTS: dict[str, tuple[int, dict[str, Any], str]] = {
    "tensor2": (2, {"tensor": 2}, "fp32"),
    "pipe2": (2, {"pipe": 2}, "fp32"),
    "zero3": (2, {"zero": 3}, "fp32"),
    "zero2 bf16": (2, {"zero": 2}, "bf16"),
    "zero3 bf16": (2, {"zero": 3}, "bf16"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_trains_alike(
    imported: Path, corpus: Path, alone: list[dict[str, Any]], layout: str, tmp_path: Path
) -> None:
    processes, parallel, compute = LAYOUTS[layout]
    run = run_from(imported, corpus, tmp_path, parallel=parallel, precision={"compute": compute})
    rows = train_processes(run, processes)
    tolerance = 1e-5 if compute == "fp32" else 3e-3
    assert train_rows(rows, "loss") == pytest.approx(train_rows(alone, "loss"), abs=tolerance, rel=0)
    assert len(train_rows(rows, "loss")) == 20


@pytest.mark.parametrize(("processes", "parallel", "compute"), [(1, {"zero": 1}, "bf16"), (2, {"zero": 3}, "bf16")])
def test_the_weights_are_whole(
    imported: Path, corpus: Path, processes: int, parallel: dict[str, Any], compute: str, tmp_path: Path
) -> None:
    """fp32 masters are the imported numbers though the model computes in bf16: without steps that change them, an
    export gives the same fingerprint.
    """
    run = run_from(imported, corpus, tmp_path / "run", parallel=parallel, precision={"compute": compute})
    run["optimizer"] = {"learning_rate": 1e-30, "weight_decay": 0.0}
    train_processes(run, processes)
    checkpoint = find_checkpoint(tmp_path / "run")
    weights = full_weights(checkpoint, load_run(checkpoint / "run.yaml").model)
    assert not weights["embedding.tokens.weight"][260:].any()
    done = export(tmp_path / "run", tmp_path / "theirs", check=False)
    plain = json.loads((imported / "import.json").read_text())
    assert done.fingerprint == plain["fingerprint"] == read_state(checkpoint).initial_weights
    written = [path / "model.safetensors" for path in (tmp_path / "theirs", imported.parent / "theirs")]
    assert written[0].read_bytes() == written[1].read_bytes()


def test_going_on_without_the_directory(
    imported: Path, corpus: Path, alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Half the run, the directory is gone, the other half: the curve of the undisturbed run, bit for bit."""
    shutil.copytree(imported, tmp_path / "ours")
    run = run_from(tmp_path / "ours", corpus, tmp_path / "run", parallel={"zero": 0})
    run["train"]["tokens"] = 10 * 4 * 16
    run["schedule"] = {"decay": 20 * 4 * 16}
    train_processes(run, 1)
    shutil.rmtree(tmp_path / "ours")
    run["train"]["tokens"] = 20 * 4 * 16
    run["model"] = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["model"]
    rows = train_processes(run, 1)
    assert "going on from" in told(run)
    assert train_rows(rows, "loss") == train_rows(alone, "loss")
    assert read_state(list_checkpoints(tmp_path / "run" / "checkpoints")[0]).initial_weights not in ("", GONE)


def refused(run: dict[str, Any]) -> str:
    """What a process that refuses a run says."""
    assert finish(start(run, 1)) == [2]
    return told(run)


def test_a_resume_from_other_weights(imported: Path, corpus: Path, tmp_path: Path) -> None:
    """Neither other imported weights nor drawn ones, and none where they were drawn."""
    run = run_from(imported, corpus, tmp_path / "run", train={"tokens": 2 * 64})
    run["train"]["initial_weights"] = str(imported)
    train_processes(run, 1)
    write_huggingface(tmp_path / "theirs", "llama", num_key_value_heads=2, num_hidden_layers=2, initializer_range=0.5)
    path = tmp_path / "theirs" / "model.safetensors"
    save_file({name: value * 2 for name, value in load_file(path).items()}, path)
    import_model(tmp_path / "theirs", tmp_path / "other", check=False)
    run["train"]["initial_weights"] = str(tmp_path / "other")
    said = refused(run)
    assert "began with imported weights" in said
    run["train"]["initial_weights"] = None
    assert "the run says that it does with weights drawn from its seed" in refused(run)


MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "another shape": ({"layers": 3}, "model.layers = 3\n    rule: must be 2, as in train.initial_weights"),
    "another function": ({"norm_epsilon": 1e-3}, "model.norm_epsilon = 0.001"),
    "another vocabulary": ({"vocab_size": 300}, "model.vocab_size = 300"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_another_model(imported: Path, corpus: Path, case: str, tmp_path: Path) -> None:
    fields, said = MISFITS[case]
    assert said in refused(run_from(imported, corpus, tmp_path, model=fields))
    assert not (tmp_path / "metrics.jsonl").exists()


def test_choices_that_are_free(imported: Path, corpus: Path, tmp_path: Path) -> None:
    """Dropout, kernel, padding, a longer context of rotary positions."""
    fields = {"dropout": 0.1, "attention": "plain", "vocab_multiple": 100, "context": 64}
    rows = train_processes(run_from(imported, corpus, tmp_path, model=fields, train={
        "tokens": 128, "initial_weights": str(imported)}), 1)  # fmt: skip
    assert len(train_rows(rows, "loss")) == 2


def test_another_tokenizer(imported: Path, tmp_path: Path) -> None:
    other = make_byte_corpus(tmp_path / "corpus")
    plain = json.loads(other.read_text())
    plain["tokenizer"]["end_of_text"] = 3
    other.write_text(json.dumps(plain))
    said = refused(run_from(imported, other, tmp_path / "run"))
    fingerprint = byte_tokenizer().fingerprint
    assert f"were made with tokenizer {fingerprint} and end-of-text 256, the corpus with {fingerprint} and 3" in said
    assert "prepare the corpus with `tokenizer:" in said


def test_no_directory(imported: Path, corpus: Path, tmp_path: Path) -> None:
    run = run_from(imported, corpus, tmp_path / "run")
    run["train"]["initial_weights"] = str(tmp_path / "nothing")
    assert "must be a directory that `pretrain import` wrote" in refused(run)


def test_a_directory_that_lost_a_tensor(imported: Path, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(imported, tmp_path / "ours")
    path = tmp_path / "ours" / "model.safetensors"
    weights = load_file(path)
    assert isinstance(weights.pop("head.norm.weight"), torch.Tensor)
    save_file(weights, path)
    assert "its tensors are not those of its model.yaml" in refused(
        run_from(tmp_path / "ours", corpus, tmp_path / "run")
    )
