"""Stage 2, from keys alone: limits, exact duplicates, and which documents validate.

24 bytes a document are read. Duplicates are found range by range of the hash, PARTITION documents at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from pretrain.config.corpus import Corpus, CorpusSource
from pretrain.config.errors import ConfigError
from pretrain.corpus.read import UnitResult
from pretrain.corpus.spill import DROPPED, TRAIN, VALIDATION, Keep, Run
from pretrain.shards.manifest import Stage

PARTITION = 2**24
"""Documents compared at a time: about 1 GB of memory."""
HASHES = 2**64


@dataclass
class Selected:
    """What is kept of one source."""

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


def select(recipe: Corpus, results: dict[str, list[UnitResult]]) -> list[Selected]:
    """Decide about every document and store it in the runs (keep.npy).

    `results`: the units of each source, in order. Raises ConfigError when a source is left without training documents.
    """
    chosen = [_limit(name, recipe.sources[name], units) for name, units in results.items()]
    if recipe.deduplicate:
        _drop_duplicates(chosen)
    for source in chosen:
        _choose_validation(source, recipe.validation)
        if not source.count(TRAIN)[0]:
            raise _empty(source)
        for run, keep in zip(source.runs, source.keep, strict=True):
            run.save_keep(keep)
    return chosen


def within_limits(source: CorpusSource, units: Sequence[UnitResult]) -> bool:
    """Whether these first units do not yet reach the limits of the source."""
    documents, size = sum(unit.documents for unit in units), sum(unit.bytes for unit in units)
    fewer = source.maximum_documents is None or documents < source.maximum_documents
    return fewer and (source.maximum_bytes is None or size < source.maximum_bytes)


def _limit(name: str, source: CorpusSource, units: list[UnitResult]) -> Selected:
    """Keep the first documents of the source, in order, up to its limits; count what reading did."""
    selected = Selected(name, [], [])
    documents = source.maximum_documents if source.maximum_documents is not None else 2**62
    size = source.maximum_bytes if source.maximum_bytes is not None else 2**62
    for unit in units:
        runs = [Run(path) for path in unit.runs]
        allowed = _allowed(runs, unit, documents, size)
        keep = [np.where(run.keys["place"] < allowed, TRAIN, DROPPED).astype(np.uint8) for run in runs]
        selected.runs += runs
        selected.keep += keep
        taken, taken_bytes = Selected(name, runs, keep).count(TRAIN)
        documents, size = documents - taken, (size - taken_bytes if taken == unit.documents else 0)
    selected.stages += _read_stages(source, units)
    if source.maximum_documents is not None or source.maximum_bytes is not None:
        limits = {"maximum_documents": source.maximum_documents, "maximum_bytes": source.maximum_bytes}
        before = selected.stages[-1]
        counts = selected.count(TRAIN)
        selected.stages.append(Stage("limit", limits, before.documents_out, counts[0], before.bytes_out, counts[1]))
    return selected


def _allowed(runs: list[Run], unit: UnitResult, documents: int, size: int) -> int:
    """How many of the first documents of a unit fit in what is left of the limits."""
    if unit.documents <= documents and unit.bytes <= size:
        return unit.documents
    keys = np.concatenate([run.keys for run in runs])
    sizes = keys["bytes"][np.argsort(keys["place"])]
    return min(documents, int(np.searchsorted(np.cumsum(sizes, dtype=np.int64), size, side="right")))


def _read_stages(source: CorpusSource, units: list[UnitResult]) -> list[Stage]:
    def total(name: str) -> int:
        return sum(getattr(unit, name) for unit in units)

    kept, kept_bytes = total("documents"), total("bytes")
    left, left_bytes = kept + total("short"), kept_bytes + total("short_bytes")
    cleaned = list(_clean_stages(source, units))
    whole, whole_bytes = (cleaned[0].documents_in, cleaned[0].bytes_in) if cleaned else (left, left_bytes)
    parameters = {"kind": source.kind, "on_error": source.on_error}
    read = Stage("read", parameters, whole + total("broken"), whole, whole_bytes + total("broken_bytes"), whole_bytes)
    length = Stage("length", {"minimum_bytes": source.minimum_bytes}, left, kept, left_bytes, kept_bytes)
    return [read, *cleaned, length]


def _clean_stages(source: CorpusSource, units: list[UnitResult]) -> Iterator[Stage]:
    plain = source.clean.plain()
    for name in units[0].cleaned if units else ():
        documents, size, documents_out, size_out = (sum(unit.cleaned[name][i] for unit in units) for i in range(4))
        parameters = plain[name] if isinstance(plain[name], dict) else {}
        yield Stage(name, parameters, documents, documents_out, size, size_out)


def _drop_duplicates(sources: list[Selected]) -> None:
    """Of equal texts keep the first, in the order of sources, units and documents."""
    before = [source.count(TRAIN) for source in sources]
    runs = [run for source in sources for run in source.runs]
    keeps = [keep for source in sources for keep in source.keep]
    for low, high in _ranges(sum(count for count, _ in before)) if runs else ():
        rows = [_rows_between(run, keep, low, high) for run, keep in zip(runs, keeps, strict=True)]
        repeated = _repeated(np.concatenate([run.keys[row] for run, row in zip(runs, rows, strict=True)]))
        ends = np.cumsum([len(row) for row in rows])
        for keep, row, part in zip(keeps, rows, np.split(repeated, ends[:-1]), strict=True):
            keep[row[part]] = DROPPED
    for source, (documents, size) in zip(sources, before, strict=True):
        left, left_bytes = source.count(TRAIN)
        source.stages.append(Stage("deduplicate", {"exact": True}, documents, left, size, left_bytes))


def _ranges(documents: int) -> Iterator[tuple[int, int]]:
    parts = max(1, -(-documents // PARTITION))
    for part in range(parts):
        yield HASHES * part // parts, HASHES * (part + 1) // parts


def _rows_between(run: Run, keep: Keep, low: int, high: int) -> npt.NDArray[np.int64]:
    """Kept rows of a run with low <= hash < high, in the order of the documents."""
    order = run.keys["order"]
    rows = np.flatnonzero((keep != DROPPED) & (order >= np.uint64(low)) & (order <= np.uint64(high - 1)))
    return rows[np.argsort(run.keys["place"][rows])]


def _repeated(keys: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """[documents] whether an equal key stands before."""
    by_key = np.lexsort((keys["choice"], keys["order"]))  # stable: equal keys stay in order
    ordered = keys[by_key]
    again = np.zeros(len(keys), dtype=bool)
    again[1:] = (ordered["order"][1:] == ordered["order"][:-1]) & (ordered["choice"][1:] == ordered["choice"][:-1])
    repeated = np.empty_like(again)
    repeated[by_key] = again
    return repeated


def _choose_validation(source: Selected, share: Decimal) -> None:
    """Hold out the documents whose second hash is low; if that is none, the one with the lowest."""
    limit = np.uint64(int(share * HASHES))
    for run, keep in zip(source.runs, source.keep, strict=True):
        keep[(keep == TRAIN) & (run.keys["choice"] < limit)] = VALIDATION
    kept = source.count(TRAIN, VALIDATION)[0]
    if share and kept > 1:
        if not source.count(VALIDATION)[0]:
            _move_lowest(source, TRAIN, VALIDATION)
        if not source.count(TRAIN)[0]:
            _move_lowest(source, VALIDATION, TRAIN)


def _move_lowest(source: Selected, code: int, to: int) -> None:
    best: tuple[int, int, int] | None = None
    for index, (run, keep) in enumerate(zip(source.runs, source.keep, strict=True)):
        rows = np.flatnonzero(keep == code)
        if len(rows):
            row = int(rows[np.argmin(run.keys["choice"][rows])])
            found = (int(run.keys["choice"][row]), index, row)
            best = min(best, found) if best else found
    if best is not None:
        source.keep[best[1]][best[2]] = to


def _empty(source: Selected) -> ConfigError:
    counts = ", ".join(f"{stage.documents_out:,} after {stage.name}" for stage in source.stages)
    first = source.stages[0].documents_in
    rule = f"no training documents are left: {first:,} records were found, {counts}"
    return ConfigError.of(
        f"sources.{source.name}", first, rule, "check its paths, fields and minimum_bytes, or remove it"
    )
