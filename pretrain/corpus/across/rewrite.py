"""Take repeated lines out of the documents of a unit, and write what is left as new runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson

from pretrain.config.across import Lines
from pretrain.corpus.across.lines import without
from pretrain.corpus.across.marks import Wanted
from pretrain.corpus.document import Document
from pretrain.corpus.read import UnitResult
from pretrain.corpus.spill import DROPPED, Run, RunWriter
from pretrain.shards.files import write_atomically


@dataclass(frozen=True)
class RewriteTask:
    """What one process needs."""

    lines: Lines
    unit: UnitResult
    """As it was read; `line_keep` stands beside its runs."""
    directory: str
    """Where the new runs go; beside it `.json` records that the unit is done."""
    sort: bool
    minimum_bytes: int
    marks: Wanted


def run(task: RewriteTask) -> UnitResult:
    """Rewrite a unit; documents of which less than `minimum_bytes` is left are dropped."""
    result, kept, size = replace(task.unit, documents=0, bytes=0), 0, 0
    writer = RunWriter(Path(task.directory), task.sort, task.marks.of)
    for path in task.unit.runs:
        old = Run(path)
        keep = np.split(old.mark("line_keep"), np.cumsum(np.bincount(old.mark("line_rows")))[:-1])
        documents = old.rows(0, len(old.keys)).to_pylist()
        kept += int((old.keep != DROPPED).sum())
        size += int(old.keys["bytes"][old.keep != DROPPED].sum(dtype=np.int64))
        for row in (row for row in np.argsort(old.keys["place"]).tolist() if old.keep[row] != DROPPED):
            document = Document(**documents[row])
            left = without(task.lines, document.text, keep[row])
            encoded = left.encode()
            if len(encoded) >= task.minimum_bytes:
                writer.add(replace(document, text=left), encoded)
                result.documents, result.bytes = result.documents + 1, result.bytes + len(encoded)
    writer.flush()
    result.runs, result.limited = writer.runs, (kept, size)
    write_atomically(Path(task.directory + ".json"), orjson.dumps(result))
    return result
