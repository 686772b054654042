"""Which documents stay (limits, duplicates, benchmarks) and which validate: one process, from keys and marks."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import orjson

from pretrain.config.across import Decontamination, Fuzzy
from pretrain.config.corpus import Corpus, CorpusSource
from pretrain.config.errors import ConfigError
from pretrain.corpus.across.contamination import decontaminate
from pretrain.corpus.across.exact import HASHES, drop_equal
from pretrain.corpus.across.fuzzy import drop_similar, write_clusters
from pretrain.corpus.read import UnitResult
from pretrain.corpus.selected import Selected, staged
from pretrain.corpus.spill import DROPPED, TRAIN, VALIDATION, Keep, Run
from pretrain.corpus.workspace import CONTAMINATION, DUPLICATES, Workspace
from pretrain.shards.files import write_atomically
from pretrain.shards.manifest import Stage


def select(recipe: Corpus, results: dict[str, list[UnitResult]], workspace: Workspace) -> list[Selected]:
    """Decide about every document and store it in the runs (keep.npy).

    `results`: the units of each source, in order. Duplicates and hits are told in files beside the manifest. Raises
    ConfigError when a source is left without training documents.
    """
    chosen = [_limit(name, recipe, units) for name, units in results.items()]
    _across(recipe, chosen, workspace)
    for source in chosen:
        _choose_validation(source, recipe.validation)
        if not source.count(TRAIN)[0]:
            raise _empty(source)
        for run, keep in zip(source.runs, source.keep, strict=True):
            run.save_keep(keep)
    return chosen


def _across(recipe: Corpus, chosen: list[Selected], workspace: Workspace) -> None:
    """The stages that compare documents."""
    if recipe.deduplicate.exact:
        staged(chosen, "deduplicate", {"exact": True}, lambda: drop_equal(chosen))
    if fuzzy := recipe.deduplicate.fuzzy:
        staged(chosen, "fuzzy", fuzzy.plain(), lambda: _drop_similar(fuzzy, chosen, workspace))
    if config := recipe.decontaminate:
        staged(chosen, "decontaminate", config.plain(), lambda: _decontaminate(config, recipe, chosen, workspace))


def _drop_similar(config: Fuzzy, chosen: list[Selected], workspace: Workspace) -> None:
    write_clusters(workspace.beside / DUPLICATES, drop_similar(config, chosen))


def _decontaminate(config: Decontamination, recipe: Corpus, chosen: list[Selected], workspace: Workspace) -> None:
    rows = decontaminate(config, chosen, workspace.work / "decontaminated", recipe.order == "hash")
    lines = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    write_atomically(workspace.beside / CONTAMINATION, lines)


def _limit(name: str, recipe: Corpus, units: list[UnitResult]) -> Selected:
    """Keep the first documents of the source, in order, up to its limits; count what reading did."""
    source = recipe.sources[name]
    # lines are taken out of what is within the limits, and only leave less of it
    runs, keep = limited(source, units)
    stages = _read_stages(source, units)
    if source.maximum_documents is not None or source.maximum_bytes is not None:
        limits = {"maximum_documents": source.maximum_documents, "maximum_bytes": source.maximum_bytes}
        stages.append(_stage("limit", limits, stages[-1], _limited(units) or Selected(name, runs, keep).count(TRAIN)))
    if lines := recipe.deduplicate.lines:
        stages.append(_stage("lines", lines.plain(), stages[-1], Selected(name, runs, keep).count(TRAIN)))
    return Selected(name, runs, keep, stages)


def limited(source: CorpusSource, units: list[UnitResult]) -> tuple[list[Run], list[Keep]]:
    """The runs of a source, and which documents in them are within its limits."""
    every, keeps = list[Run](), list[Keep]()
    documents = source.maximum_documents if source.maximum_documents is not None else 2**62
    size = source.maximum_bytes if source.maximum_bytes is not None else 2**62
    for unit in units:
        runs = [Run(path) for path in unit.runs]
        allowed = _allowed(runs, unit, documents, size)
        keep = [np.where(run.keys["place"] < allowed, TRAIN, DROPPED).astype(np.uint8) for run in runs]
        every += runs
        keeps += keep
        taken, taken_bytes = Selected("", runs, keep).count(TRAIN)
        documents, size = documents - taken, (size - taken_bytes if taken == unit.documents else 0)
    return every, keeps


def _limited(units: list[UnitResult]) -> tuple[int, int] | None:
    """Documents and bytes within the limits, where lines were taken out afterwards."""
    counts = [unit.limited for unit in units if unit.limited is not None]
    return (sum(documents for documents, _ in counts), sum(size for _, size in counts)) if counts else None


def _stage(name: str, parameters: dict[str, Any], before: Stage, left: tuple[int, int]) -> Stage:
    return Stage(name, parameters, before.documents_out, left[0], before.bytes_out, left[1])


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

    kept, kept_bytes = total("read_documents"), total("read_bytes")
    left, left_bytes = kept + total("short"), kept_bytes + total("short_bytes")
    cleaned = list(_clean_stages(source, units))
    whole, whole_bytes = (cleaned[0].documents_in, cleaned[0].bytes_in) if cleaned else (left, left_bytes)
    parameters = {"kind": source.kind, "on_error": source.on_error}
    read = Stage("read", parameters, whole + total("broken"), whole, whole_bytes + total("broken_bytes"), whole_bytes)
    length = Stage("length", {"minimum_bytes": source.minimum_bytes}, left, kept, left_bytes, kept_bytes)
    return [read, *cleaned, length]


def _clean_stages(source: CorpusSource, units: list[UnitResult]) -> Iterator[Stage]:
    plain, own = source.clean.plain(), source.clean.own_rules
    for name in units[0].cleaned if units else ():
        documents, size, documents_out, size_out = (sum(unit.cleaned[name][i] for unit in units) for i in range(4))
        parameters = own[name].plain() if name in own else plain[name] if isinstance(plain[name], dict) else {}
        yield Stage(name, parameters, documents, documents_out, size, size_out)


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
