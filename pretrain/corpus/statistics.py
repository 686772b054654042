"""statistics.json and dropped.jsonl: what a report shows and a manifest does not need, for each source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from pretrain.corpus.read import SHOWN, SHOWN_CHARACTERS, UnitResult
from pretrain.corpus.selected import Selected
from pretrain.corpus.spill import TRAIN


def statistics(read: Mapping[str, list[UnitResult]], selected: list[Selected]) -> dict[str, Any]:
    """Source -> measure -> class or bucket -> documents, with examples of what is kept.

    The measures of reading and of the rules, and `kept_bytes`: sizes of the training documents. Buckets of sizes are
    powers of two: "1024" stands for 1,024 to 2,047 bytes.
    """
    found = {}
    for source in selected:
        measures = _sum(unit.tallies for unit in read[source.name])
        measures["kept_bytes"] = _kept_bytes(source)
        found[source.name] = {"measures": measures, "kept": _examples(source)}
    return found


def _sum(tallies: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    total: dict[str, Counter[str]] = {}
    for unit in tallies:
        for measure, counts in unit.items():
            total.setdefault(measure, Counter()).update(counts)
    return {measure: dict(sorted(counts.items())) for measure, counts in sorted(total.items())}


def _kept_bytes(source: Selected) -> dict[str, int]:
    sizes: npt.NDArray[Any] = np.concatenate(
        [np.zeros(0, dtype=np.int64)]
        + [run.keys["bytes"][keep == TRAIN] for run, keep in zip(source.runs, source.keep, strict=True)]
    )
    powers, counts = np.unique(np.frexp(sizes)[1], return_counts=True)
    return {str(1 << (power - 1)): count for power, count in zip(powers.tolist(), counts.tolist(), strict=True)}


def _examples(source: Selected) -> list[dict[str, Any]]:
    """The first documents in stored order of the first run."""
    for run, keep in zip(source.runs, source.keep, strict=True):
        rows = np.flatnonzero(keep == TRAIN)[:SHOWN]
        if len(rows):
            documents = [run.document(int(row)) for row in rows]
            return [
                {"file": d.file, "record": d.record, "id": d.id, "text": d.text[:SHOWN_CHARACTERS]} for d in documents
            ]
    return []


def examples_dropped(read: Mapping[str, list[UnitResult]]) -> bytes:
    """JSON Lines: the first documents that each rule dropped of each source."""
    rows = ({"source": name, **row} for name, units in read.items() for unit in units for row in unit.dropped)
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)
