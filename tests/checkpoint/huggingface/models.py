"""Small models on both sides: directories as transformers writes them, and imported ones made from our own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from torch import Tensor

from pretrain.checkpoint.huggingface.fields import UNRELATED, resolved
from pretrain.checkpoint.huggingface.imported import RECORD
from pretrain.checkpoint.huggingface.tensors import Writer
from pretrain.checkpoint.huggingface.weights import shapes_of
from pretrain.config.model import Model
from pretrain.shards.manifest import TokenizerRecord, load_manifest
from tests.model.builders import build, small
from tests.synthetic import make_corpus
from tokenizer import Tokenizer
from tokenizer.byte_bpe import byte_spelling
from tokenizer.load import byte_level_bpe

VOCABULARY = 260
"""Rows of the embeddings, a little more than the tokenizer has."""
NEO = {"bands": {"width": 5}, "bias": False, "d_model": 64}
"""Heads of 16: sqrt(d_head) is a power of two."""


def byte_tokenizer(end: str | None = "<|endoftext|>") -> Tokenizer:
    """A token a byte, and end-of-text."""
    pieces = [*sorted(byte_spelling().values()), *([end] if end else [])]
    return Tokenizer(byte_level_bpe({piece: number for number, piece in enumerate(pieces)}, []))


def make_byte_corpus(directory: Path) -> Path:
    """The manifest of made-up tokens of the byte tokenizer, in an empty directory."""
    path = make_corpus(directory, vocabulary=257)
    tokenizer, manifest = byte_tokenizer(), load_manifest(str(path))
    shutil.rmtree(directory / "tokenizer")
    tokenizer.save(directory / "tokenizer")
    record = TokenizerRecord("tokenizer", tokenizer.fingerprint, 257, tokenizer.end_of_text)
    replace(manifest, tokenizer=record).save(path)
    return path


def model_of(**fields: Any) -> Model:
    """The builders' small model with the vocabulary of these tests."""
    return small(**{"vocab_size": VOCABULARY, **fields})


def write_imported(config: Model, directory: Path, seed: int = 0) -> dict[str, Tensor]:
    """An imported directory with the random weights of `build`, which are returned without padding rows."""
    directory.mkdir(parents=True)
    parameters, shapes = dict(build(config, seed).named_parameters()), shapes_of(config)
    weights = {name: parameters[name].detach()[: shape[0]] for name, shape in shapes.items()}
    if config.bands and config.bias:
        weights |= {name: torch.zeros_like(value) for name, value in weights.items() if name.endswith("qkv.bias")}
    with Writer(directory, shapes, torch.float32, 10**9) as writer:
        for name, value in weights.items():
            writer.put(name, value)
    fields = {name: value for name, value in resolved(config).items() if name not in UNRELATED}
    (directory / "model.yaml").write_text(yaml.safe_dump(fields))
    byte_tokenizer().save(directory / "tokenizer")
    record = {"architecture": "test", "fingerprint": "0", "tokenizer_fingerprint": "0", "end_of_text": 256}
    (directory / RECORD).write_text(json.dumps({"format_version": 1, **record}))
    return weights


SHAPE = {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 24}
FAMILY: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", {}),
    "gpt2 exact gelu, untied": ("GPT2", {"activation_function": "gelu", "tie_word_embeddings": False}),
    "gpt2 narrow mlp": ("GPT2", {"n_inner": 50, "layer_norm_epsilon": 1e-3}),
    "llama": ("Llama", {"intermediate_size": 48}),
    "llama grouped, tied": ("Llama", {"intermediate_size": 48, "num_key_value_heads": 2, "tie_word_embeddings": True}),
    "llama wide heads, biases": (
        "Llama",
        {"intermediate_size": 48, "head_dim": 12, "attention_bias": True, "mlp_bias": True},
    ),
    "llama theta": (
        "Llama",
        {"intermediate_size": 48, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    ),
    "mistral": ("Mistral", {"intermediate_size": 48, "num_key_value_heads": 2, "sliding_window": None}),
    "qwen3": ("Qwen3", {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 12}),
    "gpt-neo": ("GPTNeo", {"attention_types": [[["global", "local"], 1], [["global"], 1]], "window_size": 5}),
    "gpt-neo every third": ("GPTNeo", {"attention_types": [[["global", "global", "local"], 1]], "window_size": 2}),
    "gpt-neo heads of 16": (
        "GPTNeo",
        {"attention_types": [[["local"], 3]], "window_size": 4, "hidden_size": 64},
    ),
    "mpt": ("Mpt", {"max_seq_len": 24}),
    "mpt 6 heads, untied": (
        "Mpt",
        {"max_seq_len": 24, "hidden_size": 48, "num_attention_heads": 6, "tie_word_embeddings": False},
    ),
    "phi": ("Phi", {"intermediate_size": 128}),
    "phi grouped, tied": (
        "Phi",
        {"intermediate_size": 50, "num_key_value_heads": 2, "tie_word_embeddings": True, "hidden_act": "gelu"},
    ),
    "phi theta, a quarter": (
        "Phi",
        {"intermediate_size": 128, "rope_parameters": {"rope_theta": 500.0, "partial_rotary_factor": 0.25}},
    ),
    "gpt-j": ("GPTJ", {"rotary_dim": 4}),
    "gpt-j tied, all of a head": ("GPTJ", {"rotary_dim": 8, "n_inner": 50, "tie_word_embeddings": True}),
    "neox": ("GPTNeoX", {"intermediate_size": 128, "use_parallel_residual": False}),
    "neox tied, all of a head": (
        "GPTNeoX",
        {
            "intermediate_size": 50,
            "use_parallel_residual": False,
            "tie_word_embeddings": True,
            "hidden_act": "gelu_new",
            "rope_parameters": {"rope_theta": 500.0, "partial_rotary_factor": 1.0},
        },
    ),
}
"""Name -> (class, arguments of its configuration)."""


def write_huggingface(
    directory: Path, family: str, tokenizer: Tokenizer | None = None, std: float = 0.2, **more: Any
) -> Any:
    """A random model of transformers in `directory`, as its own save_pretrained writes it; returns the model."""
    kind, arguments = FAMILY[family]
    config_class = getattr(transformers, f"{kind}Config")
    head = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
    config = config_class(**{"vocab_size": VOCABULARY, **SHAPE, **arguments, **more})
    model = getattr(transformers, kind + head)(config)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = std * torch.randn_like(parameter)
            is_norm = ("norm" in name or ".ln_" in name) and name.endswith("weight")
            parameter.copy_(1 + noise if is_norm else noise)
        if (bias := dict(model.named_parameters()).get("lm_head.bias")) is not None:
            bias.zero_()  # ours has none
    model.save_pretrained(directory)
    (tokenizer or byte_tokenizer()).save(directory)
    return model.eval()


def edit_config(directory: Path, **changes: Any) -> None:
    """Change keys of config.json; ... takes one away."""
    path = directory / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))
