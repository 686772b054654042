"""The directory that `pretrain import` writes and a run starts from: plain files, no pickle.

DIR/
    import.json            where it comes from, its fingerprints, the largest logit difference; written last
    model.yaml             fields for `model:` of a run
    model.safetensors      fp32 by canonical name (or several files and their index), without padding rows
    tokenizer/
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pretrain.checkpoint.files import list_checkpoints
from pretrain.checkpoint.huggingface.fields import resolved
from pretrain.checkpoint.state import GONE
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.load import load_yaml
from pretrain.config.model import Model
from pretrain.config.run import Run
from pretrain.shards.manifest import TokenizerRecord

FORMAT_VERSION = 1
RECORD = "import.json"

FREE = ("preset", "vocab_multiple", "attention", "dropout", "init_std", "rope_theta", "context")
"""Fields that a run may choose anew: no weight depends on them."""


class Record(NamedTuple):
    """What import.json says, as far as a run has to know it."""

    architecture: str
    fingerprint: str
    """Of the weights."""
    tokenizer_fingerprint: str
    end_of_text: int


def read_record(directory: Path) -> Record:
    """Raises ConfigError when `directory` is not what `pretrain import` wrote."""
    try:
        plain = json.loads((directory / RECORD).read_bytes())
        if plain.get("format_version") != FORMAT_VERSION:
            rule = f"has format {plain.get('format_version')}, this version reads {FORMAT_VERSION}"
            raise ConfigError.of("train.initial_weights", str(directory), rule, "import it again")
        return Record(*(plain[field] for field in Record._fields))
    except (OSError, ValueError, AttributeError, KeyError) as error:
        fix = "pretrain import HUGGING_FACE_DIR --to DIR"
        rule = f"must be a directory that `pretrain import` wrote ({error})"
        raise ConfigError.of("train.initial_weights", str(directory), rule, fix) from None


def read_model(directory: Path) -> Model:
    """The model of the weights. Raises ConfigError."""
    return Model.parse(load_yaml(directory / "model.yaml"), "model")


def weights_fingerprint(directory: str | None) -> str:
    """Of a run's initial weights, as its state has it: empty where it has none, GONE where they are not there."""
    if directory is None:
        return ""
    return read_record(Path(directory)).fingerprint if (Path(directory) / RECORD).is_file() else GONE


def check_initial_weights(run: Run, tokenizer: TokenizerRecord, checkpoints: Path) -> None:
    """Whether the run's model and the corpus's tokenizer are those of its initial weights. Raises ConfigError.

    Reads two small files, and nothing where `checkpoints` has one to go on from. `run` has its vocabulary.
    """
    if run.train.initial_weights is None or list_checkpoints(checkpoints):
        return
    directory = Path(run.train.initial_weights)
    record = read_record(directory)
    problems = list(_misfits(run.model, read_model(directory), directory))
    if (record.tokenizer_fingerprint, record.end_of_text) != (tokenizer.fingerprint, tokenizer.end_of_text):
        rule = (
            f"were made with tokenizer {record.tokenizer_fingerprint} and end-of-text {record.end_of_text}, "
            f"the corpus with {tokenizer.fingerprint} and {tokenizer.end_of_text}"
        )
        fix = f"prepare the corpus with `tokenizer: {directory / 'tokenizer'}`"
        problems.append(Problem("train.initial_weights", str(directory), rule, fix))
    if problems:
        raise ConfigError(problems)


def _misfits(run: Model, imported: Model, directory: Path) -> Iterator[Problem]:
    ours, theirs = resolved(run), resolved(imported)
    free = FREE if run.positions != "learned" else tuple(field for field in FREE if field != "context")
    for field, value in theirs.items():
        if field not in free and ours[field] != value:
            rule = f"must be {value}, as in train.initial_weights"
            yield Problem(f"model.{field}", ours[field], rule, f"write `model: {directory / 'model.yaml'}`")
