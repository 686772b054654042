"""What a model is made of. Presets of the published sizes lie in configs/models/."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pretrain.config.own import Own
from pretrain.config.section import Section, fingerprint
from pretrain.config.units import Count


class Bands(Section):
    """Alternating dense and locally banded attention (Brown et al. 2020, section 2.1; Child et al. 2019)."""

    every: int = Field(2, ge=1)
    """Every n-th layer is banded, counting from the second (2: dense, banded, dense, banded ...)."""
    width: Count = Field(256, ge=1)
    """Tokens that a position of a banded layer sees, itself included."""


class Mup(Section):
    """Maximal update parametrization (Yang et al. 2022): what is tuned at a small width holds at a large one.

    Tensor Programs V, Table 8, for Adam, with m = d_model / base_d_model: matrices of blocks have initial weights of
    init_std / sqrt(m), a learning rate divided by m and a weight decay multiplied by it (docs/mup.md).
    """

    base_d_model: int = Field(ge=1)
    """Width at which learning rate, init_std and the multipliers were tuned: there nothing changes. Depth, d_ff /
    d_model and the batch should be those of the larger model, or near them."""
    base_d_head: int | None = Field(None, ge=1)
    """Width of a head of that model. Default: this one's, so that width is more heads. Scores are q k' x
    sqrt(base_d_head) / d_head."""
    embedding_multiplier: float = Field(1.0, gt=0)
    """On the sum of token and position embeddings. Found at the base width, like the learning rate."""
    output_multiplier: float = Field(1.0, gt=0)
    """On the logits, which are divided by m."""


LATER: dict[str, Any] = {"rope_fraction": 1.0, "qk_norm": False, "parallel_block": False, "mlp": None, "mup": None}
"""Fields that came after the first checkpoints, and the value at which a model is the one from before them."""


class Model(Section):
    """A decoder-only transformer. The defaults are GPT-3's: learned positions, pre-LayerNorm, GELU, tied embeddings."""

    preset: str | None = None
    """Name of a file in configs/models/ (or a path) whose fields these override."""
    layers: int = Field(ge=1)
    """Transformer blocks."""
    d_model: int = Field(ge=1)
    """Width of the residual stream."""
    heads: int = Field(ge=1)
    """Attention heads; must divide d_model unless d_head is given."""
    kv_heads: int | None = Field(None, ge=1)
    """Key and value heads (grouped-query attention, Ainslie et al. 2023); must divide heads. Default: heads."""
    d_head: int | None = Field(None, ge=1)
    """Width of one head. Default: d_model / heads."""
    d_ff: int | None = Field(None, ge=1)
    """Width inside the MLP. Default: 4 x d_model; for swiglu 8/3 x d_model rounded up to a multiple of 256."""
    context: Count = Field(ge=1)
    """Longest sequence in tokens; with learned positions the size of their table."""
    vocab_size: Count | None = Field(None, ge=2)
    """Tokens in the vocabulary. Default: the tokenizer's."""
    vocab_multiple: int = Field(128, ge=1)
    """The embedding has vocab_size rounded up to this multiple; the added logits are masked."""
    positions: Literal["learned", "rope", "alibi", "none"] = "learned"
    """learned: GPT-2 and 3. rope: rotary embedding (Su et al. 2021) as LLaMA lays it out. alibi: scores fall with
    distance, in each head by its own slope (Press et al. 2022)."""
    rope_theta: float = Field(10_000.0, gt=0)
    """Base of the rotary frequencies."""
    rope_fraction: float = Field(1.0, gt=0, le=1)
    """Share of each head's columns, from the first on, that rope turns (Wang & Komatsuzaki 2021; GPT-NeoX has 0.25)."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    """Normalisation before attention, before the MLP and before the head."""
    norm_epsilon: float = Field(1e-5, gt=0)
    """Added to the variance inside the normalisation."""
    activation: Literal["gelu", "gelu_tanh", "swiglu"] = "gelu_tanh"
    """gelu_tanh: GPT-2's approximation. swiglu: LLaMA's gated MLP (Shazeer 2020)."""
    mlp: Own | None = None
    """An MLP of your own in each block, by import path (docs/own-parts.md). One that derives from MLP or GatedMLP runs
    under every layout."""
    qk_norm: bool = False
    """Normalise queries and keys of each head, before rope, without biases: attention stays stable at large learning
    rates (Dehghani et al. 2023; Qwen3)."""
    parallel_block: bool = False
    """Attention and MLP side by side, from one norm (Wang & Komatsuzaki 2021): half the exchange of a tensor axis."""
    bias: bool = True
    """Biases in the linear layers and in LayerNorm."""
    tied_embeddings: bool = True
    """The head uses the token embedding's weight."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on embeddings, attention weights and residual branches."""
    bands: Bands | None = None
    """Locally banded attention in some layers; none: all layers dense."""
    attention: Literal["auto", "plain", "sdpa", "flash", "flex"] = "auto"
    """Kernel. auto: the fastest that this device and mask allow. plain: written out, for reading and testing."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of initial weights; residual projections have it / sqrt(2 x layers) (Radford et al. 2019)."""
    mup: Mup | None = None
    """Learning rates and initial weights that follow from those of a narrower model; none: the same for all widths."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.d_head is None and self.d_model % self.heads:
            near = _nearest_divisor(self.d_model, self.heads)
            raise ValueError(
                f"heads ({self.heads}) must divide d_model ({self.d_model})"
                f"; fix: heads: {near}, or give d_head ({self.d_model // self.heads} or any)"
            )
        if self.kv_heads and self.heads % self.kv_heads:
            near = _nearest_divisor(self.heads, self.kv_heads)
            raise ValueError(f"kv_heads ({self.kv_heads}) must divide heads ({self.heads}); fix: kv_heads: {near}")
        self._check_positions()
        return self

    def _check_positions(self) -> None:
        width, fraction = self.head_width, self.rope_fraction
        if self.positions != "rope" and fraction < 1:
            raise ValueError(
                f"rope_fraction ({fraction:g}) needs positions: rope; fix: positions: rope, or leave it out"
            )
        if self.positions == "rope" and fraction == 1 and width % 2:
            raise ValueError(f"rope needs an even d_head, this is {width}; fix: d_head: {width + 1}")
        turned = fraction * width
        if self.positions == "rope" and fraction < 1 and (abs(turned - self.rope_width) > 1e-6 or self.rope_width % 2):
            near = max(2, 2 * round(turned / 2))
            rule = f"rope_fraction x d_head must be an even number, this is {fraction:g} x {width} = {turned:g}"
            raise ValueError(f"{rule}; fix: rope_fraction: {near / width:g}")
        if self.positions == "alibi" and self.attention == "flash":
            raise ValueError(
                "flash attention takes no bias, and alibi is one; fix: attention: auto, or positions: rope"
            )

    def fingerprint(self) -> str:
        """Of what the weights mean: the kernel is no part of it, nor are fields of LATER at their first value."""
        plain = self.plain() | {"attention": "auto"}
        return fingerprint({name: value for name, value in plain.items() if (name, value) not in LATER.items()})

    @property
    def head_width(self) -> int:
        """D, the width of one head."""
        return self.d_head or self.d_model // self.heads

    @property
    def rope_width(self) -> int:
        """Columns of a head that rope turns."""
        return round(self.head_width * self.rope_fraction)

    @property
    def key_heads(self) -> int:
        """Key and value heads, the default filled in."""
        return self.kv_heads or self.heads

    @property
    def width_ratio(self) -> float:
        """m of muP: how many times wider than its base this model is; 1 without muP."""
        return self.d_model / self.mup.base_d_model if self.mup else 1.0

    @property
    def score_scale(self) -> float:
        """What muP multiplies the usual scores q k' / sqrt(D) with."""
        base = self.mup and self.mup.base_d_head
        return math.sqrt(base / self.head_width) if base else 1.0

    @property
    def logit_scale(self) -> float:
        """What muP multiplies logits with."""
        return self.mup.output_multiplier / self.width_ratio if self.mup else 1.0

    @property
    def embedding_scale(self) -> float:
        """What muP multiplies embeddings with."""
        return self.mup.embedding_multiplier if self.mup else 1.0

    @property
    def mlp_width(self) -> int:
        """d_ff, the default filled in (Touvron et al. 2023, section 2.2 for swiglu)."""
        if self.d_ff:
            return self.d_ff
        return 4 * self.d_model if self.activation != "swiglu" else -(-8 * self.d_model // 3 // 256) * 256

    @property
    def vocabulary(self) -> int:
        """V, the vocabulary size; the run fills it in from the tokenizer. Raises ValueError before that."""
        if self.vocab_size is None:
            raise ValueError("model.vocab_size is not known yet: it comes from the tokenizer")
        return self.vocab_size

    @property
    def padded_vocabulary(self) -> int:
        """Rows of the embedding: vocab_size rounded up to vocab_multiple. Does not depend on any layout."""
        return -(-self.vocabulary // self.vocab_multiple) * self.vocab_multiple

    def band_of(self, layer: int) -> int | None:
        """Tokens that `layer` (from 0) sees, or None when it is dense."""
        banded = self.bands is not None and layer % self.bands.every == self.bands.every - 1
        return self.bands.width if banded and self.bands else None


def _nearest_divisor(whole: int, near: int) -> int:
    return min((n for n in range(1, whole + 1) if whole % n == 0), key=lambda n: (abs(n - near), n))
