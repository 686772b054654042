"""`pretrain import`: from a directory of Hugging Face to one that a run starts from, one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from pretrain.checkpoint.huggingface.architecture import Architecture
from pretrain.checkpoint.huggingface.beside import check_room, check_target, written_beside
from pretrain.checkpoint.huggingface.compare import Compared, compare, plain
from pretrain.checkpoint.huggingface.export import SHARD_BYTES, ordered, their_shapes
from pretrain.checkpoint.huggingface.fields import UNRELATED, resolved
from pretrain.checkpoint.huggingface.imported import FORMAT_VERSION, RECORD
from pretrain.checkpoint.huggingface.match import Match, NotZeroError
from pretrain.checkpoint.huggingface.registry import named
from pretrain.checkpoint.huggingface.sources import Imported
from pretrain.checkpoint.huggingface.tensors import INDEX, WHOLE, Reader, Shape, Writer, elements
from pretrain.checkpoint.huggingface.theirs import raw_config, read_config
from pretrain.checkpoint.huggingface.weights import VOCABULARY, Fingerprint, shapes_of
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.model import Model
from tokenizer import Tokenizer, load_tokenizer

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZERS = ("tokenizer.json*", "vocab.*", "*.model", "tekken.json")


@dataclass(frozen=True)
class Directory:
    """What Hugging Face's directory holds, all of it checked but the numbers."""

    path: Path
    architecture: Architecture
    model: Model
    tokenizer: Tokenizer
    reader: Reader
    names: dict[str, str]
    """A tensor's full name -> its name in the files."""
    matches: dict[str, Match]
    """By our parameter."""
    shapes: dict[str, Shape]
    """Of our parameters."""

    def whole(self, name: str) -> Tensor:
        """One of our parameters, fp32."""
        match = self.matches[name]
        try:
            return match.join(tuple(self.reader.tensor(self.names[theirs]) for theirs in match.theirs))
        except NotZeroError as error:
            raise self._not_zero(error) from None

    def _not_zero(self, error: NotZeroError) -> ConfigError:
        if self.model.bias:
            fix = "this model cannot be imported: pretrain does not compute that"
            return ConfigError.of("weights", str(self.path), f"our models have no such bias: {error}", fix)
        rule = f"config.json says that there are no biases, but {error}"
        return ConfigError.of("config.json bias", False, rule, "remove that key")


@dataclass(frozen=True)
class ImportedModel:
    """What was written."""

    architecture: str
    parameters: int
    fingerprint: str
    tokenizer_fingerprint: str
    compared: Compared | None


def import_model(path: Path, target: Path, shard_bytes: int = SHARD_BYTES, check: bool = True) -> ImportedModel:
    """Write the model in `path` to the new directory `target`, for `train.initial_weights` of a run.

    Raises ConfigError for anything that our model does not compute, before anything is written, and RunError when
    transformers computes another model from `path`.
    """
    check_target(target)
    source = open_directory(path)
    parameters = elements(list(source.shapes.values()))
    check_room(target, 4 * parameters)
    with written_beside(target) as directory:
        fingerprint = _write_weights(directory, source, shard_bytes)
        source.tokenizer.save(directory / "tokenizer")
        (directory / "model.yaml").write_text(_model_yaml(source), encoding="utf-8")
        compared = _compare(source, directory, check)
        done = ImportedModel(source.architecture.name, parameters, fingerprint, source.tokenizer.fingerprint, compared)
        (directory / RECORD).write_text(json.dumps(_record(source, done), indent=2) + "\n", encoding="utf-8")
    return done


def open_directory(path: Path) -> Directory:
    """Check everything that can be known without reading numbers. Raises ConfigError."""
    architecture = named(raw_config(path))
    config = read_config(path)
    if not any((path / name).is_file() for name in (WHOLE, INDEX)):
        raise _no_weights(path)
    model = Model.parse(architecture.fields(config), "config.json")
    tokenizer = _tokenizer(path, model)
    reader, shapes = Reader(path), shapes_of(model)
    matches = ordered(architecture, model, shapes)
    names = _full_names(architecture, reader)
    if model.tied_embeddings:
        _check_tied(f"{architecture.head}.weight", names, reader, matches)
    if problems := list(_wrong_tensors(path, their_shapes(matches, shapes), names, reader)):
        raise ConfigError(problems)
    return Directory(path, architecture, model, tokenizer, reader, names, matches, shapes)


def _no_weights(path: Path) -> ConfigError:
    pickles = sorted({found.name for pattern in PICKLES for found in path.glob(pattern)})
    if not pickles:
        return ConfigError.of("weights", str(path), f"has neither {WHOLE} nor {INDEX}", "download them")
    fix = (
        'if you trust where it comes from, convert it: python -c "import transformers; '
        f"transformers.AutoModelForCausalLM.from_pretrained('{path}').save_pretrained('{path}-safe')\" "
        "and copy its tokenizer's files"
    )
    rule = f"{', '.join(pickles)}: a pickle runs whatever code it holds when it is read; only safetensors are read"
    return ConfigError.of("weights", str(path), rule, fix)


def _tokenizer(path: Path, model: Model) -> Tokenizer:
    if not any(found for pattern in TOKENIZERS for found in path.glob(pattern)):
        # transformers would make an empty one
        rule, fix = (
            "has no tokenizer",
            "copy the tokenizer's files there: a run checks that its corpus was made with it",
        )
        raise ConfigError.of("tokenizer", str(path), rule, fix)
    tokenizer = load_tokenizer(path)
    _ = tokenizer.end_of_text  # raises where there is none
    if tokenizer.vocab_size > model.vocabulary:
        rule = f"has {tokenizer.vocab_size:,} entries, the embedding has {model.vocabulary:,} rows"
        raise ConfigError.of("tokenizer", str(path), rule, "give the model's own tokenizer")
    return tokenizer


def _full_names(architecture: Architecture, reader: Reader) -> dict[str, str]:
    """Without buffers, and with the prefix that files of a model without its head leave out."""
    names = [name for name in reader.names if not name.endswith(architecture.buffers)]
    bare = not any(name.startswith(architecture.base) for name in names)
    return {
        architecture.base + name if bare and not name.startswith(architecture.head) else name: name for name in names
    }


def _check_tied(head: str, names: dict[str, str], reader: Reader, matches: dict[str, Match]) -> None:
    """A tied head may lie in the files a second time, if it is the same."""
    if head not in names:
        return
    embedding = names.get(matches[VOCABULARY[0]].theirs[0])
    if embedding and not torch.equal(reader.tensor(names[head]), reader.tensor(embedding)):
        rule = f"says that the head is the embedding, but {head} is another matrix"
        raise ConfigError.of("config.json tie_word_embeddings", True, rule, "set it to false if that is meant")
    del names[head]


def _wrong_tensors(path: Path, expected: dict[str, Shape], names: dict[str, str], reader: Reader) -> Iterator[Problem]:
    fix = "give the weights that belong to this config.json"
    for name, shape in expected.items():
        if name not in names:
            yield Problem(f"tensor {name}", str(path), "is missing", fix)
        elif (found := reader.shape(names[name])) != shape:
            yield Problem(f"tensor {name}", found, f"must have the shape {shape}", fix)
    for name in names.keys() - expected.keys():
        yield Problem(f"tensor {name}", str(path), "is no part of this architecture", fix)


def _write_weights(directory: Path, source: Directory, shard_bytes: int) -> str:
    """Their fingerprint. One parameter is held at a time."""
    fingerprint = Fingerprint()
    with Writer(directory, source.shapes, torch.float32, shard_bytes) as writer:
        for name in source.shapes:
            value = source.whole(name)
            fingerprint.add(name, value)
            writer.put(name, value)
            del value
    return str(fingerprint)


def _compare(source: Directory, directory: Path, check: bool) -> Compared | None:
    if not check:
        return None
    compared = compare(source.path, Imported(directory))
    compared.check()
    return compared


def _model_yaml(source: Directory) -> str:
    """The fields that say what the weights compute; a run adds its own choices, such as dropout."""
    fields = {name: value for name, value in resolved(source.model).items() if name not in UNRELATED}
    name = source.architecture.name
    heading = f"# {name} as imported. In a run: `model: PATH_OF_THIS_FILE`, or `preset: PATH` and more fields.\n"
    return heading + yaml.safe_dump(fields, sort_keys=False)


def _record(source: Directory, done: ImportedModel) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "pretrain_version": version("pretrain"),
        "transformers_version": version("transformers"),
        "imported_from": str(source.path),
        "architecture": done.architecture,
        "parameters": done.parameters,
        "fingerprint": done.fingerprint,
        "tokenizer_fingerprint": done.tokenizer_fingerprint,
        "end_of_text": source.tokenizer.end_of_text,
        **plain(done.compared),
    }
