"""A model from a checkpoint, without the engine that trained it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pretrain.checkpoint.files import damage, list_checkpoints
from pretrain.checkpoint.saved import Saved
from pretrain.checkpoint.state import read_state
from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run
from pretrain.config.model import Model
from pretrain.model.init import materialize
from pretrain.model.transformer import Transformer

if TYPE_CHECKING:
    from tokenizer import Tokenizer


def load_model(path: str, device: str = "auto") -> tuple[Transformer, Tokenizer]:
    """Model (evaluation mode, fp32 on a CPU, bf16 on a GPU) and tokenizer of a checkpoint or of a run's newest one.

    Raises ConfigError when there is none or it is damaged.
    """
    checkpoint = find_checkpoint(Path(path))
    if wrong := damage(checkpoint):
        raise ConfigError.of("checkpoint", str(checkpoint), f"is damaged: {wrong}", "use an earlier one")
    run = load_run(checkpoint / "run.yaml")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device("meta"):
        model = Transformer(run.model)
    materialize(model, device)
    model.load_state_dict(full_weights(checkpoint, run.model))
    if device != "cpu":
        model.to(torch.bfloat16)
    return model.eval(), load_tokenizer_of(checkpoint, run.model)


def load_tokenizer_of(checkpoint: Path, model: Model) -> Tokenizer:
    """The tokenizer in a checkpoint. Raises ConfigError when the model was trained with another, or has no room."""
    from tokenizer import load_tokenizer

    folder = checkpoint / "tokenizer"
    tokenizer, trained = load_tokenizer(folder), read_state(checkpoint).tokenizer_fingerprint
    fix = "put the tokenizer there that the model was trained with"
    if tokenizer.fingerprint != trained:
        rule = f"has fingerprint {tokenizer.fingerprint}, the model was trained with {trained}"
        raise ConfigError.of("checkpoint", str(folder), rule, fix)
    if tokenizer.vocab_size > model.vocabulary:
        rule = f"has {tokenizer.vocab_size:,} entries, the model's vocabulary {model.vocabulary:,}"
        raise ConfigError.of("checkpoint", str(folder), rule, fix)
    return tokenizer


def find_checkpoint(path: Path) -> Path:
    """A checkpoint directory itself, or the newest in a run directory. Raises ConfigError."""
    if (path / "files.json").is_file():
        return path
    for folder in (path, path / "checkpoints"):
        if found := list_checkpoints(folder):
            return found[0]
    fix = "give runs/NAME, or runs/NAME/checkpoints/step-00000100"
    raise ConfigError.of("checkpoint", str(path), "must be a checkpoint or a run directory that has one", fix)


def full_weights(checkpoint: Path, model: Model) -> dict[str, torch.Tensor]:
    """All entries of the model's state, fp32 master weights by canonical name, whatever layout wrote them."""
    saved = Saved(checkpoint, model)
    weights = {name: saved.whole(name) for name in saved.names}
    if model.tied_embeddings:
        weights["head.weight"] = weights["embedding.tokens.weight"]
    return weights
