"""Nearly equal documents: candidates by band, compared by signature, joined into clusters; the first of each stays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.config.across import Fuzzy
from pretrain.corpus.across.exact import ranges
from pretrain.corpus.across.minhash import absent, shape
from pretrain.corpus.across.words import Hashes, Numbers
from pretrain.corpus.selected import Selected
from pretrain.corpus.spill import DROPPED, Keep, Run
from pretrain.shards.files import AtomicFile

ORIGINS = pa.schema(
    {"cluster": pa.int64(), "kept": pa.bool_(), "source": pa.string(), "file": pa.string()}
    | {"record": pa.int64(), "id": pa.string(), "bytes": pa.int64()}
)
PAIRS = 2**16
"""Signatures compared at a time: 64 MB of memory."""


@dataclass(frozen=True)
class Documents:
    """The kept documents of all sources in their order of precedence. N documents."""

    runs: Sequence[Run]
    rows: Sequence[Numbers]
    """Of each run, its kept rows in the order of the documents."""

    @classmethod
    def kept(cls, sources: Sequence[Selected]) -> Documents:
        """Those that are not dropped yet."""
        runs = [run for source in sources for run in source.runs]
        keeps = [keep for source in sources for keep in source.keep]
        return cls(runs, [_in_order(run, keep) for run, keep in zip(runs, keeps, strict=True)])

    @cached_property
    def ends(self) -> Numbers:
        """[runs] number of the document after the last of each run."""
        return np.cumsum([len(rows) for rows in self.rows], dtype=np.int64)

    def band(self, band: int) -> Hashes:
        """[N] a band of all."""
        columns = [run.mark("bands")[:, band][rows] for run, rows in zip(self.runs, self.rows, strict=True)]
        return np.concatenate(columns) if columns else np.zeros(0, dtype=np.uint64)

    def signatures(self, numbers: Numbers) -> npt.NDArray[np.uint32]:
        """[numbers, K]"""
        found = None
        of_run = np.searchsorted(self.ends, numbers, side="right")
        for run in np.unique(of_run):
            here = of_run == run
            first = int(self.ends[run]) - len(self.rows[run])
            values = self.runs[run].mark("signature")[self.rows[run][numbers[here] - first]]
            found = np.empty((len(numbers), values.shape[1]), dtype=np.uint32) if found is None else found
            found[here] = values
        assert found is not None
        return found

    def drop(self, sources: Sequence[Selected], dropped: npt.NDArray[np.bool_]) -> None:
        """Drop the documents [N] that are marked."""
        keeps = [keep for source in sources for keep in source.keep]
        for keep, rows, end in zip(keeps, self.rows, self.ends.tolist(), strict=True):
            keep[rows[dropped[end - len(rows) : end]]] = DROPPED


def cluster(documents: Documents, config: Fuzzy) -> Numbers:
    """[N] the number of the first document of each one's cluster: its own where it has no duplicate.

    A cluster is whatever hangs together by pairs above the threshold. Memory: about 50 bytes a document.
    """
    count = int(documents.ends[-1]) if len(documents.ends) else 0
    labels = np.arange(count)
    nobody = absent(config)
    for band in range(shape(config)[0]):
        values = documents.band(band)
        for pairs in _candidates(values, nobody[band]):
            pairs = pairs[:, labels[pairs[0]] != labels[pairs[1]]]
            labels = _joined(labels, pairs[:, _similar(documents, pairs, config.threshold)])
    return labels


def _candidates(values: Hashes, nobody: np.uint64) -> Iterator[Numbers]:
    """[2, pairs] documents whose values agree, each with the first and with the one before it."""
    for low, high in ranges(len(values)):
        inside = np.flatnonzero((values >= np.uint64(low)) & (values <= np.uint64(high - 1)) & (values != nobody))
        order = inside[np.argsort(values[inside], kind="stable")]
        same = np.flatnonzero(np.diff(values[order].view(np.int64)) == 0)
        starts = np.arange(len(order))
        starts[same + 1] = 0
        first = np.maximum.accumulate(starts)
        yield np.hstack([[order[first[same + 1]], order[same + 1]], [order[same], order[same + 1]]])


def _similar(documents: Documents, pairs: Numbers, threshold: float) -> npt.NDArray[np.bool_]:
    """[pairs] whether the signatures agree in at least this share."""
    similar = np.zeros(pairs.shape[1], dtype=bool)
    for start in range(0, pairs.shape[1], PAIRS):
        one, other = (documents.signatures(pairs[side, start : start + PAIRS]) for side in (0, 1))
        similar[start : start + PAIRS] = (one == other).mean(axis=1) >= threshold
    return similar


def _joined(labels: Numbers, pairs: Numbers) -> Numbers:
    """The labels after joining the clusters of each pair; a cluster bears the number of its first document."""
    if not pairs.shape[1]:
        return labels
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(pairs.shape[1], dtype=bool)
    graph = coo_array((ones, (labels[pairs[0]], labels[pairs[1]])), shape=(len(labels), len(labels)))
    components = connected_components(graph, directed=False)[1]
    # only documents that are labels hang together in the graph; the first of a component is the lowest of them
    first = np.full(len(labels), len(labels))
    np.minimum.at(first, components, np.arange(len(labels)))
    joined: Numbers = first[components][labels]
    return joined


def _in_order(run: Run, keep: Keep) -> Numbers:
    rows = np.flatnonzero(keep != DROPPED)
    return rows[np.argsort(run.keys["place"][rows])]


def drop_similar(config: Fuzzy, sources: Sequence[Selected]) -> pa.Table:
    """Drop all but the first document of each cluster, and return the clusters of two and more, a row a document.

    Columns: cluster, kept, source, file, record, id, bytes.
    """
    documents = Documents.kept(sources)
    labels = cluster(documents, config)
    first = labels == np.arange(len(labels))
    documents.drop(sources, ~first)
    several = np.bincount(labels, minlength=1)[labels] > 1
    numbers = np.cumsum(first & several) - 1
    columns = {"cluster": numbers[labels], "kept": first}
    table = pa.concat_tables(_origins(documents, sources, columns, several))
    return table.sort_by([("cluster", "ascending"), ("kept", "descending")])


def write_clusters(path: Path, clusters: pa.Table) -> None:
    """Whole or not at all, as Parquet."""
    file = AtomicFile(path)
    try:
        pq.write_table(clusters, file)
        file.commit()
    finally:
        file.discard()


def _origins(
    documents: Documents,
    sources: Sequence[Selected],
    columns: dict[str, npt.NDArray[Any]],
    chosen: npt.NDArray[np.bool_],
) -> list[pa.Table]:
    """A table of the chosen documents of each run."""
    names = [source.name for source in sources for _ in source.runs]
    tables = [ORIGINS.empty_table()]
    for name, run, rows, end in zip(names, documents.runs, documents.rows, documents.ends.tolist(), strict=True):
        here = np.flatnonzero(chosen[end - len(rows) : end])
        if len(here):
            table = run.rows(0, len(run.keys), ["file", "record", "id"]).take(pa.array(rows[here]))
            table = table.append_column("bytes", pa.array(run.keys["bytes"][rows[here]]))
            table = table.append_column("source", pa.array([name] * len(here)))
            for column, values in columns.items():
                table = table.append_column(column, pa.array(values[end - len(rows) + here]))
            tables.append(table.select(ORIGINS.names).cast(ORIGINS))
    return tables
