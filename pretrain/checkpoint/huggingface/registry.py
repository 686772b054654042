"""The architectures, in the order in which they are tried for a model to export."""

from __future__ import annotations

from typing import Any

from pretrain.checkpoint.huggingface.architecture import Architecture
from pretrain.checkpoint.huggingface.gpt2 import GPT2
from pretrain.checkpoint.huggingface.gpt_j import GPTJ
from pretrain.checkpoint.huggingface.gpt_neo import GPTNeo
from pretrain.checkpoint.huggingface.gpt_neox import GPTNeoX
from pretrain.checkpoint.huggingface.llama import Llama, Mistral, Qwen3
from pretrain.checkpoint.huggingface.mpt import MPT
from pretrain.checkpoint.huggingface.phi import Phi
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.model import Model

ARCHITECTURES: tuple[Architecture, ...] = (
    GPT2(),
    Llama(),
    GPTNeo(),
    Mistral(),
    Qwen3(),
    MPT(),
    Phi(),
    GPTNeoX(),
    GPTJ(),
)


def choose(model: Model) -> Architecture:
    """The first that holds `model`. Raises ConfigError with what keeps it from the nearest one of its positions."""
    misfits = [(architecture, architecture.misfits(model)) for architecture in ARCHITECTURES]
    architecture, problems = min(misfits, key=lambda pair: _distance(pair[1]))
    if problems:
        raise ConfigError(problems)
    return architecture


def _distance(problems: list[Problem]) -> tuple[bool, int]:
    return any(problem.field == "model.positions" for problem in problems), len(problems)


def named(config: dict[str, Any]) -> Architecture:
    """The one that a config.json is of. Raises ConfigError."""
    name = (config.get("architectures") or [None])[0]
    for architecture in ARCHITECTURES:
        if architecture.name == name and architecture.model_type == config.get("model_type"):
            return architecture
    known = ", ".join(architecture.name for architecture in ARCHITECTURES)
    said = name or config.get("model_type")
    raise ConfigError.of("config.json architectures", said, f"must be one of {known}", "import a model of one of these")
