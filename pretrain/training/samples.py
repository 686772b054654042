"""Texts from every checkpoint of a run that is kept, for its report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from pretrain.checkpoint.files import list_checkpoints
from pretrain.checkpoint.state import read_state
from pretrain.checkpoint.weights import load_model
from pretrain.config.errors import ConfigError
from pretrain.monitoring.report.read import SAMPLES
from pretrain.shards.files import write_atomically
from pretrain.training.sample import stream_text

PROMPTS = ("", "The", "It is", "In the beginning", "1 + 1 =")
"""The first starts a new document."""
TOKENS, TEMPERATURE, TOP_K, TOP_P, SEED = 80, 0.8, 0, 1.0, 1234


def write_samples(directory: Path, prompts: Sequence[str] | None, say: Callable[[str], None]) -> None:
    """Add to samples.jsonl what each checkpoint writes. What an earlier call wrote stays: its checkpoints may be gone.

    A checkpoint that cannot be used is told and passed over.
    """
    path = directory / SAMPLES
    old = path.read_bytes() if path.is_file() else b""
    rows = b"".join(orjson.dumps(row) + b"\n" for row in _rows(directory, prompts or PROMPTS, say))
    write_atomically(path, old + (b"" if old.endswith(b"\n") or not old else b"\n") + rows)


def _rows(directory: Path, prompts: Sequence[str], say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    for checkpoint in reversed(list_checkpoints(directory / "checkpoints")):
        try:
            state, (model, tokenizer) = read_state(checkpoint), load_model(str(checkpoint))
        except ConfigError as error:
            say(f"no samples from {checkpoint.name}: {error.problems[0].rule}")
            continue
        say(f"samples from {checkpoint.name}")
        for prompt in prompts:
            text = "".join(stream_text(model, tokenizer, prompt, TOKENS, TEMPERATURE, TOP_K, TOP_P, SEED))
            yield {"step": state.step, "tokens": state.tokens, "prompt": prompt, "seed": SEED, "text": text}
