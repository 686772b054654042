"""The layers of the transformer: embedding, block (attention and MLP), head.

Each maps (hidden, sequence) -> hidden, so the list can be cut into pipeline stages anywhere. Sizes that tensor
parallelism divides (heads, kv_heads) are attributes and are read from there, never from the configuration.

Shapes: B batch, T tokens, C d_model, H heads, KV key/value heads, D d_head, F d_ff, V vocabulary, Vp padded V.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.config.model import Model
from pretrain.model.loss import Losses, cross_entropy
from pretrain.model.positions import rotate
from pretrain.model.sequence import Sequence


def make_norm(config: Model) -> nn.Module:
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019) over C."""
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.d_model, eps=config.norm_epsilon)
    return nn.LayerNorm(config.d_model, eps=config.norm_epsilon, bias=config.bias)


class Table(nn.Embedding):
    """Rows to look up. On the meta device torch's own first draw does nothing and costs 1.6 s of imports."""

    def reset_parameters(self) -> None:
        """Draw as torch does; `initialize` draws again."""
        if not self.weight.is_meta:
            super().reset_parameters()


class Embedding(nn.Module):
    """Token ids [B, T] -> hidden [B, T, C]; learned positions are added."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.tokens = Table(config.padded_vocabulary, config.d_model)
        self.positions = Table(config.context, config.d_model) if config.positions == "learned" else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, inputs: Tensor, sequence: Sequence) -> Tensor:
        hidden = self.tokens(inputs)
        if self.positions is not None:
            hidden = hidden + self.positions(sequence.positions)
        return self.dropout(hidden)  # type: ignore[no-any-return]


class AttentionCore(nn.Module):
    """softmax(q k' / sqrt(D)) v: the part of attention without weights. A module so that it can be wrapped."""

    def __init__(self, width: int | None, dropout: float) -> None:
        super().__init__()
        self.width, self.dropout = width, dropout

    def forward(self, q: Tensor, k: Tensor, v: Tensor, sequence: Sequence) -> Tensor:
        """q [B, H, T, D], k and v [B, KV, S, D] -> [B, H, T, D]."""
        return sequence.kernel.attend(q, k, v, sequence.masks[self.width], self.dropout if self.training else 0.0)


class Attention(nn.Module):
    """Causal multi-head attention with as many key/value heads as configured (Ainslie et al. 2023)."""

    def __init__(self, config: Model, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.kv_heads, self.d_head = config.heads, config.key_heads, config.head_width
        # rows of the fused weight: queries of all heads, then keys, then values
        self.qkv = nn.Linear(config.d_model, (self.heads + 2 * self.kv_heads) * self.d_head, bias=config.bias)
        self.out = nn.Linear(self.heads * self.d_head, config.d_model, bias=config.bias)
        self.core = AttentionCore(config.band_of(layer), config.dropout)

    def forward(self, hidden: Tensor, sequence: Sequence) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        q, k, v = self._project(hidden)
        if sequence.rotary is not None:
            q, k = rotate(q, sequence.rotary), rotate(k, sequence.rotary)
            v = v.clone()  # a view would keep q and k as they were before in memory until the backward pass
        if sequence.cache is not None:
            k, v = sequence.cache.append(self.layer, k, v)
        mixed = self.core(q, k, v, sequence)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]  # [B, H, T, D] -> [B, T, H * D]

    def _project(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """[B, T, C] -> q [B, H, T, D], k [B, KV, T, D], v [B, KV, T, D]."""
        qkv = self.qkv(hidden).unflatten(-1, (-1, self.d_head)).transpose(1, 2)  # [B, H + 2 * KV, T, D]
        return qkv.split([self.heads, self.kv_heads, self.kv_heads], dim=1)  # type: ignore[no-any-return]


class MLP(nn.Module):
    """C -> F -> C with GELU (Hendrycks & Gimpel 2016), exact or GPT-2's tanh approximation."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.approximate = "tanh" if config.activation == "gelu_tanh" else "none"
        self.up = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.down = nn.Linear(config.mlp_width, config.d_model, bias=config.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(hidden), approximate=self.approximate))  # type: ignore[no-any-return]


class GatedMLP(nn.Module):
    """SwiGLU: C -> F twice, one gates the other, -> C (Shazeer 2020)."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.up = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.down = nn.Linear(config.mlp_width, config.d_model, bias=config.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(hidden)) * self.up(hidden))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm residual block (Radford et al. 2019; Xiong et al. 2020)."""

    def __init__(self, config: Model, layer: int) -> None:
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = Attention(config, layer)
        self.mlp_norm = make_norm(config)
        self.mlp = GatedMLP(config) if config.activation == "swiglu" else MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, sequence: Sequence) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        hidden = hidden + self.dropout(self.attention(self.attention_norm(hidden), sequence))
        return hidden + self.dropout(self.mlp(self.mlp_norm(hidden)))  # type: ignore[no-any-return]


class Head(nn.Module):
    """Final norm, then logits or, when targets are given, losses.

    A head tied to an embedding registers that one's Parameter as its `weight`. Everything that uses it happens inside
    forward: only there is a weight that ZeRO-3 has partitioned whole.
    """

    def __init__(self, config: Model, tied: Embedding | None = None) -> None:
        super().__init__()
        self.vocab_size, self.z_loss = config.vocabulary, 0.0
        self.norm = make_norm(config)
        self.weight = tied.tokens.weight if tied else _own_weight(config)

    def forward(self, hidden: Tensor, sequence: Sequence, targets: Tensor | None = None) -> Tensor | Losses:
        """[B, T, C] -> logits [B, T, V] fp32, or the Losses of `targets` [B, T]."""
        hidden = self.norm(hidden)
        if targets is None:
            return F.linear(hidden, self.weight)[..., : self.vocab_size].float()
        return cross_entropy(hidden, self.weight, targets, self.vocab_size, z_loss=self.z_loss)


def _own_weight(config: Model) -> Tensor:
    return nn.Parameter(torch.zeros(config.padded_vocabulary, config.d_model))
