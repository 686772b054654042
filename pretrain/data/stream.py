"""One source's token stream, spread over shards. Its samples are windows of T+1 tokens, at stride T; or at stride T+1,
where documents were packed into samples.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pretrain.data.reads import Reads
from pretrain.shards.manifest import Split


class TokenStream:
    """The tokens of one split of one source, back to back."""

    def __init__(
        self,
        split: Split,
        directory: Path,
        dtype: str,
        sequence_length: int,
        stride: int | None = None,
    ) -> None:
        self.shards = split.shards
        self._paths = [directory / (shard.path + ".bin") for shard in split.shards]
        self._ends = list(accumulate(shard.tokens for shard in split.shards))
        self._itemsize = np.dtype(dtype).itemsize
        self._length, self._stride = sequence_length, stride or sequence_length
        self.tokens = self._ends[-1] if self._ends else 0
        self.samples = max(0, (self.tokens - 1 - sequence_length) // self._stride + 1)

    def window(self, sample: int) -> range:
        """The tokens of a sample, T+1 of them."""
        return range(sample * self._stride, sample * self._stride + self._length + 1)

    def samples_with(self, tokens: range) -> range:
        """The samples that hold any of these tokens."""
        first = -(-(tokens.start - self._length) // self._stride)
        return range(max(0, first), min(self.samples, (tokens.stop - 1) // self._stride + 1))

    def first_token(self, shard: str) -> int:
        """Which token of the stream is the first one of a shard. Raises StopIteration when it has no such shard."""
        number = next(number for number, one in enumerate(self.shards) if one.path == shard)
        return self._ends[number] - self.shards[number].tokens

    def locate(self, token: int) -> tuple[int, int]:
        """The shard that holds a token, and which of the shard's tokens it is."""
        shard = bisect_right(self._ends, token)
        return shard, token - (self._ends[shard - 1] if shard else 0)

    def read_into(self, sample: int, row: npt.NDArray[np.generic], reads: Reads) -> None:
        """Let `reads` read a sample into `row` [T+1], which has the stream's dtype. Windows may cross shards."""
        buffer = row.data.cast("B")
        token, wanted = self.window(sample).start, len(row)
        while wanted:
            shard, start = self.locate(token)
            here = min(wanted, self.shards[shard].tokens - start)
            size = here * self._itemsize
            reads.read_into(self._paths[shard], buffer[:size], start * self._itemsize)
            buffer, token, wanted = buffer[size:], token + here, wanted - here
