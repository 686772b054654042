"""The decoder-only transformer as a list of layers.

Shapes: B batch, T tokens, C d_model, V vocabulary.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from pretrain.config.model import Model
from pretrain.model.cache import Cache
from pretrain.model.layers import Embedding, Head, make_block
from pretrain.model.loss import Losses
from pretrain.model.sequence import Sequence, describe


def layer_names(config: Model) -> list[str]:
    """Canonical names of the layers; a parameter's canonical name is `<layer>.<name inside the layer>`."""
    return ["embedding", *(f"blocks.{layer}" for layer in range(config.layers)), "head"]


def build_layers(config: Model) -> list[nn.Module]:
    """[Embedding, Block x layers, Head], each (hidden, Sequence) -> hidden; `initialize` gives them their weights."""
    embedding = Embedding(config)
    blocks = [make_block(config, layer) for layer in range(config.layers)]
    return [embedding, *blocks, Head(config, embedding if config.tied_embeddings else None)]


class Transformer(nn.Module):
    """All layers in one module."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.config = config
        embedding, *blocks, head = build_layers(config)
        self.embedding = cast(Embedding, embedding)
        self.blocks = nn.ModuleList(blocks)
        self.head = cast(Head, head)
        self.heads = slice(0, config.heads)
        """Attention heads that are computed here: tensor parallelism leaves some of them."""

    def forward(self, inputs: Tensor, targets: Tensor, document: Tensor | None = None) -> Losses:
        """Losses of `targets` [B, T] int64 (-100: not a target) after `inputs` [B, T] int64.

        `document` [B, T] int32 keeps attention and positions inside each document. Raises ConfigError when T exceeds
        the context, or when model.attention cannot do this here.
        """
        sequence = self._sequence(inputs, document)
        return self.head(self._hidden(inputs, sequence), sequence, targets)  # type: ignore[no-any-return]

    def logits(
        self, inputs: Tensor, document: Tensor | None = None, cache: Cache | None = None, last: bool = False
    ) -> Tensor:
        """[B, T] -> [B, T, V] fp32, or with `last` [B, 1, V] of the last token alone.

        With a cache, `inputs` follow the tokens in it and are added to it.
        """
        sequence = self._sequence(inputs, document, cache)
        hidden = self._hidden(inputs, sequence)
        logits = self.head(hidden[:, -1:] if last else hidden, sequence)
        if cache is not None:
            cache.advance(inputs.shape[1])
        return logits  # type: ignore[no-any-return]

    def _sequence(self, inputs: Tensor, document: Tensor | None, cache: Cache | None = None) -> Sequence:
        dtype = self.embedding.tokens.weight.dtype  # ZeRO-3 empties a parameter but keeps its type
        dropout = self.config.dropout if self.training else 0.0
        return describe(self.config, inputs.shape, inputs.device, dtype, document, cache, dropout, self.heads)

    def _hidden(self, inputs: Tensor, sequence: Sequence) -> Tensor:
        """[B, T] -> [B, T, C]."""
        hidden = self.embedding(inputs, sequence)
        for block in self.blocks:
            hidden = block(hidden, sequence)
        return hidden  # type: ignore[no-any-return]
