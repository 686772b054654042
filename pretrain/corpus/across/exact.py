"""Documents whose text is exactly that of an earlier one, found range by range of the hash."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pretrain.corpus.selected import Selected
from pretrain.corpus.spill import DROPPED, Keep, Run

PARTITION = 2**24
"""Keys compared at a time: about 1 GB of memory."""
HASHES = 2**64


def drop_equal(sources: list[Selected]) -> None:
    """Of equal texts keep the first, in the order of sources, units and documents."""
    runs = [run for source in sources for run in source.runs]
    keeps = [keep for source in sources for keep in source.keep]
    for low, high in ranges(sum(map(len, keeps))) if runs else ():
        rows = [_rows_between(run, keep, low, high) for run, keep in zip(runs, keeps, strict=True)]
        keys = np.concatenate([run.keys[row] for run, row in zip(runs, rows, strict=True)])
        again = repeated(keys["order"], keys["choice"])
        ends = np.cumsum([len(row) for row in rows])
        for keep, row, part in zip(keeps, rows, np.split(again, ends[:-1]), strict=True):
            keep[row[part]] = DROPPED


def ranges(keys: int) -> Iterator[tuple[int, int]]:
    """Ranges of 64-bit hashes that hold about PARTITION of so many keys each."""
    parts = max(1, -(-keys // PARTITION))
    for part in range(parts):
        yield HASHES * part // parts, HASHES * (part + 1) // parts


def repeated(key: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64] | None = None) -> npt.NDArray[np.bool_]:
    """[keys] whether an equal key (and second key) stands before."""
    # stable: equal keys stay in order
    by_key = np.argsort(key, kind="stable") if second is None else np.lexsort((second, key))
    equal = np.diff(key[by_key].view(np.int64)) == 0
    if second is not None:
        equal &= np.diff(second[by_key].view(np.int64)) == 0
    again = np.zeros(len(key), dtype=bool)
    again[by_key[1:]] = equal
    return again


def _rows_between(run: Run, keep: Keep, low: int, high: int) -> npt.NDArray[np.int64]:
    """Kept rows of a run with low <= hash < high, in the order of the documents."""
    order = run.keys["order"]
    rows = np.flatnonzero((keep != DROPPED) & (order >= np.uint64(low)) & (order <= np.uint64(high - 1)))
    return rows[np.argsort(run.keys["place"][rows])]
