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
from pretrain.config.own import MLP as MLP_SEAM
from pretrain.model.loss import Losses, cross_entropy
from pretrain.model.positions import rotate
from pretrain.model.sequence import Sequence


def make_norm(config: Model) -> nn.Module:
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019) over C."""
    return _norm(config, config.d_model, config.bias)


def _norm(config: Model, width: int, bias: bool) -> nn.Module:
    if config.norm == "rmsnorm":
        return nn.RMSNorm(width, eps=config.norm_epsilon)
    return nn.LayerNorm(width, eps=config.norm_epsilon, bias=bias)


class Table(nn.Embedding):
    """Rows to look up. On the meta device torch's own first draw does nothing and costs 1.6 s of imports."""

    def reset_parameters(self) -> None:
        """Draw as torch does; `initialize` draws again."""
        if not self.weight.is_meta:
            super().reset_parameters()


def scaled(hidden: Tensor, scale: float) -> Tensor:
    """Times one of muP's factors; not touched where that is 1."""
    return hidden if scale == 1 else hidden * scale


class Embedding(nn.Module):
    """Token ids [B, T] -> hidden [B, T, C]; learned positions are added."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.tokens = Table(config.padded_vocabulary, config.d_model)
        self.positions = Table(config.context, config.d_model) if config.positions == "learned" else None
        self.dropout, self.scale = nn.Dropout(config.dropout), config.embedding_scale

    def forward(self, inputs: Tensor, sequence: Sequence) -> Tensor:
        hidden = self.tokens(inputs)
        if self.positions is not None:
            hidden = hidden + self.positions(sequence.positions)
        return self.dropout(scaled(hidden, self.scale))  # type: ignore[no-any-return]


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
        # without biases (Dehghani et al. 2023, section 2): one on all keys would change no weight of the softmax
        self.q_norm = _norm(config, self.d_head, bias=False) if config.qk_norm else None
        self.k_norm = _norm(config, self.d_head, bias=False) if config.qk_norm else None
        self.core, self.scale = AttentionCore(config.band_of(layer), config.dropout), config.score_scale

    def forward(self, hidden: Tensor, sequence: Sequence) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        return self.out(self.mix(self.qkv(hidden), sequence))  # type: ignore[no-any-return]

    def mix(self, qkv: Tensor, sequence: Sequence) -> Tensor:
        """What lies between the matrices: [B, T, (H + 2 * KV) * D] -> [B, T, H * D]."""
        heads = qkv.unflatten(-1, (-1, self.d_head))  # type: ignore[no-untyped-call]  # [B, T, H + 2 * KV, D]
        q, k, v = heads.split([self.heads, self.kv_heads, self.kv_heads], dim=2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        elif sequence.rotary is not None:
            v = v.clone()  # a view would keep q and k as they were before in memory until the backward pass
        if sequence.rotary is not None:
            q, k = rotate(q, sequence.rotary), rotate(k, sequence.rotary)
        q = scaled(q, self.scale)
        # heads first only now: the kernel lays its result out as q lies, so that heads side by side cost no copy
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        if sequence.cache is not None:
            k, v = sequence.cache.append(self.layer, k, v)
        mixed = self.core(q, k, v, sequence)
        return mixed.transpose(1, 2).flatten(2)  # type: ignore[no-any-return]  # [B, H, T, D] -> [B, T, H * D]


class MLP(nn.Module):
    """C -> F -> C with GELU (Hendrycks & Gimpel 2016), exact or GPT-2's tanh approximation."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.approximate = "tanh" if config.activation == "gelu_tanh" else "none"
        self.up = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.down = nn.Linear(config.mlp_width, config.d_model, bias=config.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down(self.activate(self.up(hidden)))  # type: ignore[no-any-return]

    def activate(self, up: Tensor) -> Tensor:
        """What lies between the matrices: [B, T, F] -> [B, T, F]."""
        return F.gelu(up, approximate=self.approximate)


class GatedMLP(nn.Module):
    """SwiGLU: C -> F twice, one gates the other, -> C (Shazeer 2020)."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.up = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.down = nn.Linear(config.mlp_width, config.d_model, bias=config.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down(self.activate(self.gate(hidden), self.up(hidden)))  # type: ignore[no-any-return]

    def activate(self, gate: Tensor, up: Tensor) -> Tensor:
        """What lies between the matrices: [B, T, F] twice -> [B, T, F]."""
        return F.silu(gate) * up


def make_mlp(config: Model) -> MLP | GatedMLP:
    """The MLP of a block: the configured activation's, or one's own."""
    if config.mlp is not None:
        return config.mlp.make("model.mlp", MLP_SEAM, config)  # type: ignore[no-any-return]
    return GatedMLP(config) if config.activation == "swiglu" else MLP(config)


class Block(nn.Module):
    """Pre-norm residual block (Radford et al. 2019; Xiong et al. 2020)."""

    def __init__(self, config: Model, layer: int) -> None:
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = Attention(config, layer)
        self.mlp_norm = make_norm(config)
        self.mlp = make_mlp(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, sequence: Sequence) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        hidden = hidden + self.dropout(self.attention(self.attention_norm(hidden), sequence))
        return hidden + self.dropout(self.mlp(self.mlp_norm(hidden)))  # type: ignore[no-any-return]


class ParallelBlock(Block):
    """Attention and MLP side by side, from one norm (GPT-J, Wang & Komatsuzaki 2021; Chowdhery et al. 2022)."""

    def __init__(self, config: Model, layer: int) -> None:
        super().__init__(config, layer)
        del self.mlp_norm

    def forward(self, hidden: Tensor, sequence: Sequence) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        normed = self.attention_norm(hidden)
        return hidden + self.dropout(self.attention(normed, sequence) + self.mlp(normed))  # type: ignore[no-any-return]


def make_block(config: Model, layer: int) -> Block:
    """The block that the configuration says."""
    return (ParallelBlock if config.parallel_block else Block)(config, layer)


class Head(nn.Module):
    """Final norm, then logits or, when targets are given, losses.

    A head tied to an embedding registers that one's Parameter as its `weight`. Everything that uses it happens inside
    forward: only there is a weight that ZeRO-3 has partitioned whole.
    """

    def __init__(self, config: Model, tied: Embedding | None = None) -> None:
        super().__init__()
        self.vocab_size, self.z_loss, self.scale = config.vocabulary, 0.0, config.logit_scale
        self.norm = make_norm(config)
        self.weight = tied.tokens.weight if tied else _own_weight(config)

    def forward(self, hidden: Tensor, sequence: Sequence, targets: Tensor | None = None) -> Tensor | Losses:
        """[B, T, C] -> logits [B, T, V] fp32, or the Losses of `targets` [B, T]."""
        hidden = self.normed(hidden)
        if targets is None:
            return F.linear(hidden, self.weight)[..., : self.vocab_size].float()
        return cross_entropy(hidden, self.weight, targets, self.vocab_size, z_loss=self.z_loss)

    def normed(self, hidden: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]: what the weight is multiplied with. muP scales it instead of the wider logits."""
        return scaled(self.norm(hidden), self.scale)


def _own_weight(config: Model) -> Tensor:
    return nn.Parameter(torch.zeros(config.padded_vocabulary, config.d_model))
