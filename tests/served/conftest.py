"""A corpus of two sources, prepared from text, and runs on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pretrain.checkpoint.files import name_of
from pretrain.checkpoint.state import TrainState
from pretrain.corpus.prepare import prepare
from pretrain.data.order import Places, extend_hash
from pretrain.served.open import Served, open_served
from tests.corpus.helpers import jsonl, recipe, texts, write_jsonl
from tests.example import small_run
from tokenizer import train_tokenizer

MakeRun = Callable[..., str]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest: web has two shards, its documents have ids; books has one, and some held out."""
    folder = tmp_path_factory.mktemp("prepared")
    train_tokenizer(texts("sample", 50), 400).save(folder / "tokenizer")
    sources = {
        "web": jsonl(write_jsonl(folder / "web.jsonl", texts("web", 60)), id_field="id", weight="3"),
        "books": jsonl(write_jsonl(folder / "books.jsonl", texts("book", 30)), weight="1"),
    }
    made = recipe(folder / "corpus", folder / "tokenizer", sources, validation="5%", shard_size=1000)
    return prepare(made)


@pytest.fixture
def make_run(prepared: Path, tmp_path: Path) -> MakeRun:
    """`make_run(name, done, **changes)`: a run directory with checkpoints after `done` steps; returns its path."""

    def make(name: str = "run", done: tuple[int, ...] = (), **changes: Any) -> str:
        directory = tmp_path / name
        directory.mkdir()
        (directory / "run.yaml").write_text(yaml.safe_dump(small_run(prepared, directory, **{"name": name, **changes})))
        for step in done:
            checkpoint = directory / "checkpoints" / name_of(step)
            checkpoint.mkdir(parents=True)
            (checkpoint / "run.yaml").write_bytes((directory / "run.yaml").read_bytes())
            (checkpoint / "files.json").write_text("{}")
            (checkpoint / "state.json").write_bytes(state_after(open_served(str(directory)), step).encode())
        return str(directory)

    return make


def state_after(served: Served, step: int, order_hash: str = "") -> TrainState:
    """What a training of two processes writes after `step` steps."""
    plan, manifest = served.order.plan, served.corpus.manifest
    for number in range(step):
        order_hash = extend_hash(order_hash, served.order.step(number))
    samples = plan.batch(step)[0]
    layout = {"pipe": 1, "data": 2, "tensor": 1, "schedule": "", "zero": 1, "compute": "fp32", "optimizer": "adamw"}
    return TrainState(
        run_id="0" * 12,
        step=step,
        samples=samples,
        tokens=samples * plan.sequence_length,
        order_hash=order_hash,
        plan=plan.plain(),
        plan_fingerprint=plan.fingerprint(),
        manifest_fingerprint=manifest.fingerprint(),
        tokenizer_fingerprint=manifest.tokenizer.fingerprint,
        model_fingerprint="0" * 16,
        layout=layout,
    )


def tampered(served: Served, step: int) -> TrainState:
    """The same, of a run that was served something else in its first step."""
    nothing = Places(np.array([0]), np.array([0]))
    return replace(state_after(served, step), order_hash=extend_hash("", nothing))
