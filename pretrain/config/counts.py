"""Parameters and arithmetic of a model, from its configuration alone. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from pretrain.config.errors import ConfigError
from pretrain.config.model import Model
from pretrain.config.own import MLP

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ParameterCount:
    """Parameters by part. The vocabulary is the true one; the rows that pad it are counted apart."""

    embedding: int
    """V x C token embedding; also the head when tied."""
    positions: int
    """Learned positions, context x C."""
    blocks: int
    """Attention, MLP and norms of all blocks."""
    final_norm: int
    """The norm before the head."""
    head: int
    """V x C of an untied head; 0 when tied."""
    padding: int
    """Rows that round the vocabulary up, in the embedding and in an untied head."""

    @property
    def total(self) -> int:
        """As papers count: without padding."""
        return self.embedding + self.positions + self.blocks + self.final_norm + self.head

    @property
    def stored(self) -> int:
        """As memory and checkpoints hold them: with padding."""
        return self.total + self.padding

    @property
    def non_embedding(self) -> int:
        """N of Kaplan et al. 2020: without token embedding, positions and untied head."""
        return self.blocks + self.final_norm


def parameter_count(model: Model) -> ParameterCount:
    """Parameters of each part. Raises ValueError while vocab_size is unknown."""
    width, vocabulary = model.d_model, model.vocabulary
    tables = 1 if model.tied_embeddings else 2
    return ParameterCount(
        embedding=vocabulary * width,
        positions=model.context * width if model.positions == "learned" else 0,
        blocks=model.layers * (block_matrices(model) + _block_vectors(model)),
        final_norm=norm_size(model),
        head=0 if model.tied_embeddings else vocabulary * width,
        padding=tables * (model.padded_vocabulary - vocabulary) * width,
    )


def block_matrices(model: Model) -> int:
    """Entries of the weight matrices of one block."""
    width, heads = model.d_model, model.heads * model.head_width
    attention = width * _qkv_rows(model) + heads * width
    return attention + mlp_matrices(model)


def mlp_matrices(model: Model) -> int:
    """Entries of the matrices of one MLP."""
    if model.mlp is not None:
        return sum(prod(shape) for shape in own_mlp_shapes(model) if len(shape) > 1)
    return (3 if model.activation == "swiglu" else 2) * model.d_model * model.mlp_width


def mlp_vectors(model: Model) -> int:
    """Biases of one MLP, and whatever else of one dim one's own has."""
    if model.mlp is not None:
        return sum(prod(shape) for shape in own_mlp_shapes(model) if len(shape) == 1)
    return (2 if model.activation == "swiglu" else 1) * model.mlp_width + model.d_model if model.bias else 0


def own_mlp_shapes(model: Model) -> list[tuple[int, ...]]:
    """Of the parameters of an own MLP."""
    return [tuple(parameter.shape) for parameter in own_mlp(model).parameters()]


def own_mlp(model: Model) -> nn.Module:
    """The own MLP of a block, built without memory, for which torch is imported. Raises ConfigError."""
    import torch

    assert model.mlp is not None
    with torch.device("meta"):
        module = model.mlp.make("model.mlp", MLP, model)
    if not isinstance(module, torch.nn.Module):
        rule = f"must make a torch.nn.Module, not {type(module).__name__}"
        raise ConfigError.of("model.mlp.class", model.mlp.path, rule, "derive the class from it")
    return module


def _block_vectors(model: Model) -> int:
    """Biases and norms of one block."""
    attention = _qkv_rows(model) + model.d_model if model.bias else 0
    return block_norms(model) + attention + mlp_vectors(model)


def block_norms(model: Model) -> int:
    """Norms of one block: of hidden states, and of queries and keys."""
    return (1 if model.parallel_block else 2) * norm_size(model) + head_norms(model)


def head_norms(model: Model) -> int:
    """Of these, what normalises queries and keys: all heads share it."""
    return 2 * model.head_width if model.qk_norm else 0


def _qkv_rows(model: Model) -> int:
    return (model.heads + 2 * model.key_heads) * model.head_width


def norm_size(model: Model) -> int:
    """Parameters of a norm of hidden states."""
    return model.d_model * (2 if model.norm == "layernorm" and model.bias else 1)


def flops_per_token(model: Model, sequence_length: int) -> int:
    """Floating-point operations that training on one token needs, forward and backward, for MFU.

    6 per entry of a weight matrix, the head once and lookups not at all, plus 12 x H x D x T per layer for attention
    (Chowdhery et al. 2022, appendix B). Attention is counted whole, as Megatron-LM does: not halved because it is
    causal, and not cut at documents. A banded layer counts min(T, width). The true vocabulary counts, not the padded
    one: padding does no useful work.
    """
    matrices = model.layers * block_matrices(model) + model.vocabulary * model.d_model
    seen = sum(min(sequence_length, model.band_of(layer) or sequence_length) for layer in range(model.layers))
    return 6 * matrices + 12 * model.heads * model.head_width * seen
