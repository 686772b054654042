"""What is kept of a source while it is decided about its documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pretrain.corpus.spill import TRAIN, Keep, Run
from pretrain.shards.manifest import Stage


@dataclass
class Selected:
    """A source: its runs, and what becomes of each document in them."""

    name: str
    runs: list[Run]
    keep: list[Keep]
    stages: list[Stage] = field(default_factory=list)

    def count(self, *codes: int) -> tuple[int, int]:
        """Documents and bytes of text whose keep is one of `codes`."""
        documents = size = 0
        for run, keep in zip(self.runs, self.keep, strict=True):
            chosen = np.isin(keep, codes)
            documents += int(chosen.sum())
            size += int(run.keys["bytes"][chosen].sum(dtype=np.int64))
        return documents, size


def staged(sources: list[Selected], name: str, parameters: dict[str, Any], work: Callable[[], None]) -> None:
    """Do `work`, which drops documents, and note it as a stage of every source with its counts in and out."""
    before = [source.count(TRAIN) for source in sources]
    work()
    for source, (documents, size) in zip(sources, before, strict=True):
        left, left_bytes = source.count(TRAIN)
        source.stages.append(Stage(name, parameters, documents, left, size, left_bytes))
