"""One reader for each tensor group: its ranks need the same micro-batches, and get them over the wire they share.

The reading itself stays in the loader's thread. The broadcast is a collective, so it is made by the training loop: once
a step, of token and source ids; masks and targets follow from them on each rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
import torch.distributed as dist

from pretrain.data.batch import Batch
from pretrain.data.dataset import Corpus
from pretrain.parallel.mesh import Mesh


def share(mine: Sequence[Batch], number: int, samples: int, corpus: Corpus, mesh: Mesh) -> list[Batch]:
    """`number` micro-batches of `samples` samples, read by the first rank of the tensor group, on each of its ranks.

    All ranks of the group call it together; `mine` is empty on those that do not read.
    """
    if mesh.tensor.size == 1 or number == 0:
        return list(mine)
    packed = torch.empty(number, samples, corpus.sequence_length + 2, dtype=torch.int32)
    for row, batch in zip(packed.numpy(), mine, strict=mesh.is_first_of_tensor):
        row[:, :-1], row[:, -1] = batch.tokens, batch.source
    packed = packed.to(mesh.world.device)
    dist.broadcast(packed, group=mesh.tensor.group, group_src=0)
    if mesh.is_first_of_tensor:
        return list(mine)
    received = packed.cpu().numpy()
    return [corpus.batch(np.ascontiguousarray(one[:, :-1]), one[:, -1].astype(np.int64)) for one in received]


def shared_steps(
    loader: Iterator[Batch], micro_batches: Iterator[int], samples: int, corpus: Corpus, mesh: Mesh
) -> Iterator[Batch]:
    """The micro-batches of step after step, `micro_batches` of them in each, whoever read them."""
    for number in micro_batches:
        mine = list(islice(loader, number))
        yield from share(mine, number, samples, corpus, mesh)
