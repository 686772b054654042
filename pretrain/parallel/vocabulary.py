"""The vocabulary cut over the tensor axis: embedding, head and cross-entropy. No rank ever has a whole row of logits.

Shapes: B batch, T tokens, t tokens between regions, C d_model, n tokens of a chunk, Vp padded vocabulary.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.model.layers import Embedding, Head, Table, scaled
from pretrain.model.loss import Losses, Shard, cross_entropy
from pretrain.model.sequence import Sequence
from pretrain.parallel.mesh import Axis
from pretrain.parallel.region import Region


class RowsTable(Table):
    """This rank's rows of a table; rows of other ranks are zeros, so that the sum over ranks is the lookup."""

    def __init__(self, whole: Table, axis: Axis) -> None:
        rows = whole.num_embeddings // axis.size
        super().__init__(rows, whole.embedding_dim, device=whole.weight.device)
        self.first = rows * axis.rank

    def forward(self, index: Tensor) -> Tensor:
        """[B, T] -> [B, T, C]."""
        mine = index - self.first
        here = (mine >= 0) & (mine < self.num_embeddings)
        return F.embedding(mine.where(here, 0), self.weight) * here[..., None]


class CutEmbedding(Embedding):
    """Token ids [B, T] -> hidden [B, t, C]. Positions lie in rows like tokens: one sum over ranks serves both."""

    def __init__(self, whole: Embedding, region: Region) -> None:
        nn.Module.__init__(self)  # its parts come from `whole`
        self.region = region
        self.tokens = RowsTable(whole.tokens, region.axis)
        self.positions = RowsTable(whole.positions, region.axis) if whole.positions is not None else None
        self.dropout, self.scale = whole.dropout, whole.scale

    def forward(self, inputs: Tensor, sequence: Sequence) -> Tensor:
        partial = self.tokens(inputs)
        if self.positions is not None:
            partial = partial + self.positions(sequence.positions)
        return self.dropout(scaled(self.region.leave(partial), self.scale))  # type: ignore[no-any-return]


class CutHead(Head):
    """Final norm, then losses from this rank's rows of the vocabulary."""

    def __init__(self, whole: Head, region: Region, tied: Embedding | None) -> None:
        nn.Module.__init__(self)
        self.region, self.vocab_size, self.norm = region, whole.vocab_size, whole.norm
        self.z_loss, self.scale = whole.z_loss, whole.scale
        rows = whole.weight.shape[0] // region.axis.size
        self.weight = tied.tokens.weight if tied else nn.Parameter(whole.weight.new_empty(rows, whole.weight.shape[1]))
        self.first = rows * region.axis.rank

    def forward(self, hidden: Tensor, sequence: Sequence, targets: Tensor | None = None) -> Losses:
        """[B, t, C] and targets [B, T] -> the same Losses on every rank of the axis."""
        if targets is None:
            raise ValueError("no rank has whole rows of logits: give targets, or load the checkpoint in one process")
        hidden = self.region.enter(self.normed(hidden))
        shard = Shard(self.first, self._combine)
        return cross_entropy(hidden, self.weight, targets, self.vocab_size, shard=shard, z_loss=self.z_loss)

    def _combine(self, log_sum: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Of this rank's columns -> of all, each [n]: log of the summed exponentials, logit of the target."""
        mine = torch.stack((log_sum, target))
        out = mine.new_empty(self.region.axis.size * 2, mine.shape[1])
        dist.all_gather_into_tensor(out, mine, group=self.region.axis.group)
        out = out.view(-1, *mine.shape)  # [ranks, 2, n]
        return out[:, 0].logsumexp(dim=0), out[:, 1].sum(dim=0)
