"""What stands beside a manifest, read in bounded memory. A file that is not there holds nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from pretrain.corpus.workspace import CONTAMINATION, DROPPED, DUPLICATES, STATISTICS

SHOWN_HITS, SHOWN_CLUSTERS, SHOWN_MEMBERS = 50, 6, 6
"""Documents with texts of benchmarks, largest clusters, and documents of each, that are shown one by one."""


@dataclass
class Hits:
    """Documents that held texts of benchmarks."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """The first SHOWN_HITS."""
    fates: dict[str, Counter[str]] = field(default_factory=dict)
    """Source -> what became of a document -> documents."""


@dataclass(frozen=True)
class Clusters:
    """Documents nearly equal to others."""

    sizes: dict[int, int]
    """Documents of a cluster -> clusters."""
    largest: list[list[dict[str, Any]]]
    """The documents of the largest, SHOWN_MEMBERS at most."""


def statistics(folder: Path) -> dict[str, Any]:
    """Source -> measures and examples of kept documents."""
    path = folder / STATISTICS
    found: dict[str, Any] = orjson.loads(path.read_bytes()) if path.is_file() else {}
    return found


def dropped(folder: Path) -> list[dict[str, Any]]:
    """Examples of what the rules dropped."""
    return list(_rows(folder / DROPPED))


def hits(folder: Path) -> Hits:
    """Counts of all, and the first."""
    found = Hits()
    for row in _rows(folder / CONTAMINATION):
        found.fates.setdefault(row["source"], Counter())[fate(row)] += 1
        if len(found.rows) < SHOWN_HITS:
            found.rows.append(row)
    return found


def fate(row: dict[str, Any]) -> str:
    """What became of a document with a hit."""
    pieces = row["pieces"]
    return "dropped" if not pieces else "cut to 1 piece" if pieces == 1 else f"split into {pieces}"


def clusters(folder: Path) -> Clusters:
    """Sizes of all, and the largest. Memory: 8 bytes a row."""
    import pyarrow.parquet as pq

    path = folder / DUPLICATES
    if not path.is_file() or not pq.read_metadata(path).num_rows:
        return Clusters({}, [])
    members = np.bincount(pq.read_table(path, columns=["cluster"])["cluster"].to_numpy())
    sizes, counts = np.unique(members, return_counts=True)
    largest = np.argsort(-members, kind="stable")[:SHOWN_CLUSTERS]
    # the rows of a cluster stand together, in the order of the clusters
    starts = (np.cumsum(members) - members)[largest]
    stops = starts + np.minimum(members[largest], SHOWN_MEMBERS)
    wanted = np.concatenate([np.arange(*of_cluster) for of_cluster in zip(starts, stops, strict=True)])
    rows: dict[int, list[dict[str, Any]]] = {number: [] for number in largest.tolist()}
    for row in _rows_at(path, np.sort(wanted)):
        rows[row["cluster"]].append(row)
    return Clusters(dict(zip(sizes.tolist(), counts.tolist(), strict=True)), list(rows.values()))


def _rows_at(path: Path, wanted: npt.NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, by ascending number."""
    import pyarrow.parquet as pq

    passed = 0
    for batch in pq.ParquetFile(path).iter_batches():
        yield from batch.take(wanted[(wanted >= passed) & (wanted < passed + len(batch))] - passed).to_pylist()
        passed += len(batch)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        with open(path, "rb") as lines:
            yield from map(orjson.loads, lines)
