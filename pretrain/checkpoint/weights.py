"""A model from a checkpoint, without the engine that trained it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pretrain.checkpoint.files import damage, list_checkpoints
from pretrain.checkpoint.state import read_state
from pretrain.checkpoint.tensors import load_tensors
from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run
from pretrain.model.transformer import Transformer

if TYPE_CHECKING:
    from tokenizer import Tokenizer


def load_model(path: str, device: str = "auto") -> tuple[Transformer, Tokenizer]:
    """Model (evaluation mode, fp32 on a CPU, bf16 on a GPU) and tokenizer of a checkpoint or of a run's newest one.

    Raises ConfigError when there is none or it is damaged.
    """
    from tokenizer import load_tokenizer

    checkpoint = find_checkpoint(Path(path))
    if wrong := damage(checkpoint):
        raise ConfigError.of("checkpoint", str(checkpoint), f"is damaged: {wrong}", "use an earlier one")
    run = load_run(checkpoint / "run.yaml")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device("meta"):
        model = Transformer(run.model)
    model.to_empty(device=device)
    model.load_state_dict(full_weights(checkpoint))
    if device != "cpu":
        model.to(torch.bfloat16)
    return model.eval(), load_tokenizer(str(checkpoint / "tokenizer"))


def find_checkpoint(path: Path) -> Path:
    """A checkpoint directory itself, or the newest in a run directory. Raises ConfigError."""
    if (path / "files.json").is_file():
        return path
    for folder in (path, path / "checkpoints"):
        if found := list_checkpoints(folder):
            return found[0]
    fix = "give runs/NAME, or runs/NAME/checkpoints/step-00000100"
    raise ConfigError.of("checkpoint", str(path), "must be a checkpoint or a run directory that has one", fix)


def full_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """All parameters by canonical name, in fp32: as the model computed with them, under ZeRO-3 its master weights."""
    folder = checkpoint / "engine"
    state = load_tensors(min(folder.glob("*model_states.pt")))
    if read_state(checkpoint).layout["zero"] < 3:
        return {name: value.float() for name, value in state["module"].items()}
    weights = _join_zero3(_partitions(folder), state["param_shapes"])
    return weights | {name: weights[shared] for name, shared in state["shared_params"].items()}


def _partitions(folder: Path) -> list[dict[str, Any]]:
    """The optimizer's state of each data-parallel rank, which under ZeRO-3 holds the weights."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # only DeepSpeed's file format is needed
    from pretrain.checkpoint.engine import SAFE

    files = sorted(folder.glob("*optim_states.pt"), key=_rank)
    return [load_tensors(file, SAFE)["optimizer_state_dict"] for file in files]


def _join_zero3(partitions: list[dict[str, Any]], shapes: list[dict[str, torch.Size]]) -> dict[str, torch.Tensor]:
    """Each rank holds an equal piece of every parameter, the last one padded; the pieces lie in parameter order."""
    flat = [torch.cat(partition["fp32_flat_groups"]) for partition in partitions]
    weights, offset = {}, 0
    for name, shape in (item for group in shapes for item in group.items()):
        size = -(-shape.numel() // len(flat))
        pieces = [rank[offset : offset + size] for rank in flat]
        weights[name] = torch.cat(pieces)[: shape.numel()].view(shape)
        offset += size
    return weights


def _rank(file: Path) -> int:
    """The data-parallel rank in DeepSpeed's file names: zero_pp_rank_12_mp_rank_00_optim_states.pt."""
    return int(file.name.partition("pp_rank_")[2].partition("_")[0])
