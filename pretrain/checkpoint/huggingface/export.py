"""`pretrain export`: from a checkpoint of any layout to a directory that transformers loads, one tensor at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pretrain.checkpoint.huggingface.architecture import Architecture
from pretrain.checkpoint.huggingface.beside import check_room, check_target, written_beside
from pretrain.checkpoint.huggingface.compare import Compared, compare, plain
from pretrain.checkpoint.huggingface.match import Match, NotZeroError
from pretrain.checkpoint.huggingface.registry import choose
from pretrain.checkpoint.huggingface.sources import Folded, open_weights
from pretrain.checkpoint.huggingface.tensors import Shape, Writer, elements
from pretrain.checkpoint.huggingface.theirs import write_config
from pretrain.checkpoint.huggingface.weights import Fingerprint, Weights, shapes_of
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.model import Model
from tokenizer import Tokenizer, load_tokenizer

FORMAT_VERSION = 1
Precision = Literal["fp32", "bf16", "fp16"]
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SHARD_BYTES = 5_000_000_000
"""Largest file, as transformers writes them."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    architecture: str
    parameters: int
    bytes: int
    fingerprint: str
    rounding: str | None
    """Which numbers are not the same bits as ours, whatever the type."""
    compared: Compared | None


def export(
    path: Path, target: Path, dtype: Precision = "fp32", shard_bytes: int = SHARD_BYTES, check: bool = True
) -> Exported:
    """Write the model at `path` to the new directory `target`.

    Raises ConfigError, before anything is written, for a model that no architecture of transformers holds; RunError
    when transformers computes another fp32 model from what was written, which then is removed.
    """
    check_target(target)
    trained = open_weights(path)
    weights = Folded(trained) if trained.model.mup else trained
    architecture = choose(weights.model)
    shapes = shapes_of(weights.model)
    matches = ordered(architecture, weights.model, shapes)
    _check_absent(weights, matches, architecture)
    tokenizer = load_tokenizer(weights.tokenizer)
    _ = tokenizer.end_of_text  # raises where there is none
    check_room(target, elements(list(shapes.values())) * TYPES[dtype].itemsize)
    with written_beside(target) as directory:
        fingerprint, size = _write_weights(directory, weights, matches, shapes, TYPES[dtype], shard_bytes)
        _write_texts(directory, weights.model, tokenizer, architecture, dtype)
        compared = compare(directory, trained) if check else None
        if compared and dtype == "fp32":
            compared.check()
        rounding = architecture.rounding(weights.model)
        done = Exported(architecture.name, elements(list(shapes.values())), size, fingerprint, rounding, compared)
        (directory / "export.json").write_text(json.dumps(_record(weights, done, dtype), indent=2) + "\n")
    return done


def ordered(architecture: Architecture, model: Model, shapes: dict[str, Shape]) -> dict[str, Match]:
    """The match of every parameter, in canonical order."""
    matches = {match.ours: match for match in architecture.matches(model)}
    if matches.keys() != shapes.keys():
        raise ValueError(f"{architecture.name} does not say where these are: {matches.keys() ^ shapes.keys()}")
    return {name: matches[name] for name in shapes}


def their_shapes(matches: dict[str, Match], shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Of the tensors that parameters of these shapes become."""
    found: dict[str, Shape] = {}
    for match in matches.values():
        if match.theirs:
            parts = match.split(torch.empty(shapes[match.ours], device="meta"))
            found |= {name: tuple(part.shape) for name, part in zip(match.theirs, parts, strict=True)}
    return found


def _check_absent(weights: Weights, matches: dict[str, Match], architecture: Architecture) -> None:
    """Refuse numbers that the architecture has no place for."""
    problems = []
    for match in matches.values():
        if not match.theirs:
            try:
                match.split(weights.whole(match.ours))
            except NotZeroError as error:
                fix = "only a model trained with `bias: false` can be exported"
                problems.append(Problem(match.ours, "not zero", f"{architecture.name} has none of these: {error}", fix))
    if problems:
        raise ConfigError(problems)


def _write_weights(
    directory: Path,
    weights: Weights,
    matches: dict[str, Match],
    shapes: dict[str, Shape],
    dtype: torch.dtype,
    shard_bytes: int,
) -> tuple[str, int]:
    """Fingerprint and bytes of the numbers. One parameter is held at a time."""
    fingerprint = Fingerprint()
    with Writer(directory, their_shapes(matches, shapes), dtype, shard_bytes) as writer:
        for match in matches.values():
            _put(match, weights.whole(match.ours), writer, fingerprint)
        return str(fingerprint), writer.bytes


def _put(match: Match, value: Tensor, writer: Writer, fingerprint: Fingerprint) -> None:
    """One parameter, which nothing refers to afterwards."""
    fingerprint.add(match.ours, value)
    for name, part in zip(match.theirs, match.split(value), strict=True):
        try:
            writer.put(name, part)
        except OverflowError as error:
            raise ConfigError.of("--dtype", "fp16", f"holds up to 65504; {error}", "--dtype bf16") from None


def _write_texts(
    directory: Path, model: Model, tokenizer: Tokenizer, architecture: Architecture, dtype: Precision
) -> None:
    """Configuration and tokenizer."""
    ends = dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.end_of_text)
    about = {"architectures": [architecture.name], "dtype": str(TYPES[dtype]).removeprefix("torch.")}
    write_config(directory, architecture.model_type, architecture.config(model) | ends | about)
    tokenizer.save(directory)


def _record(weights: Weights, done: Exported, dtype: Precision) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "pretrain_version": version("pretrain"),
        "transformers_version": version("transformers"),
        **weights.about(),
        "architecture": done.architecture,
        "parameters": done.parameters,
        "dtype": dtype,
        "fingerprint": done.fingerprint,
        "rounding": done.rounding,
        **plain(done.compared),
    }
