"""Texts of benchmarks in training documents: found by n-gram, cut out with their surroundings (GPT-3, Appendix C)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pretrain.config.across import Decontamination
from pretrain.corpus.across.evaluation import Evaluation, evaluation
from pretrain.corpus.across.words import Words
from pretrain.corpus.selected import Selected
from pretrain.corpus.spill import DROPPED, TRAIN, Run, RunWriter

HIT = np.dtype([("row", "<u4"), ("ngram", "<u4"), ("start", "<u4"), ("stop", "<u4")])
"""A row of a run, the number of an n-gram of the evaluation sets, and where it stands, in bytes."""
Hits = npt.NDArray[np.void]


def hits(config: Decontamination, words: Words, start: int) -> dict[str, npt.NDArray[Any]]:
    """hits [h] of HIT, rows counted from `start`."""
    known = evaluation(config).hashes
    grams, first = words.ngrams(config.ngram)
    place = np.minimum(np.searchsorted(known, grams), len(known) - 1)
    found = np.flatnonzero(known[place] == grams)
    marks = np.empty(len(found), dtype=HIT)
    begin, end = first[found], first[found] + config.ngram - 1
    marks["row"], marks["ngram"] = words.text[begin] + start, place[found]
    marks["start"], marks["stop"] = words.first[begin], words.stop[end]
    return {"hits": marks}


@dataclass
class Cleaner:
    """Cuts the documents of one source; what is left of them goes into runs of its own."""

    config: Decontamination
    evaluation: Evaluation
    directory: Path
    sort: bool

    def clean(self, source: Selected, common: npt.NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
        """Drop the documents with hits, add their pieces, and yield what became of each. `common` [G]: no hits."""
        writer = RunWriter(self.directory / source.name, self.sort)
        for run, keep in zip(source.runs, source.keep, strict=True):
            found = run.mark("hits")
            found = found[(keep[found["row"]] == TRAIN) & ~common[found["ngram"]]]
            for of_document in np.split(found, np.flatnonzero(np.diff(found["row"])) + 1) if len(found) else ():
                row = int(of_document["row"][0])
                keep[row] = DROPPED
                yield {"source": source.name, **self._cut(run, row, of_document, writer)}
        writer.flush()
        source.runs += [Run(path) for path in writer.runs]
        source.keep += [np.full(len(Run(path).keys), TRAIN, dtype=np.uint8) for path in writer.runs]

    def _cut(self, run: Run, row: int, found: Hits, writer: RunWriter) -> dict[str, Any]:
        document = run.document(row)
        raw = document.text.encode()
        pieces = [] if self.config.action == "drop" else self._pieces(document.text, _in_characters(raw, found))
        if len(pieces) > self.config.maximum_pieces:
            pieces = []
        for piece in pieces:
            # pieces of one document stay on one side of training and validation
            writer.add(replace(document, text=piece), piece.encode(), int(run.keys["choice"][row]))
        first = found[0]
        return {
            "file": document.file,
            "record": document.record,
            "id": document.id,
            "example": self.evaluation.examples[self.evaluation.example[first["ngram"]]],
            "text": raw[first["start"] : first["stop"]].decode(),
            "ngrams": len(found),
            "pieces": len(pieces),
        }

    def _pieces(self, text: str, spans: list[tuple[int, int]]) -> list[str]:
        """What stands between the spans and their windows, if it is long enough."""
        pieces, after = [], 0
        for start, stop in sorted(spans):
            pieces.append(text[after : max(after, start - self.config.window)])
            after = max(after, stop + self.config.window)
        pieces.append(text[after:])
        return [piece for piece in map(str.strip, pieces) if len(piece) >= self.config.minimum_characters]


def _in_characters(raw: bytes, found: Hits) -> list[tuple[int, int]]:
    """Start and stop of each hit, which counts bytes; counted for all at once, as a leaked test set has thousands."""
    begins = np.frombuffer(raw, np.uint8) & 0xC0 != 0x80
    before = np.concatenate([np.zeros(1, np.uint32), np.cumsum(begins, dtype=np.uint32)])
    return list(zip(before[found["start"]].tolist(), before[found["stop"]].tolist(), strict=True))


def decontaminate(
    config: Decontamination, sources: list[Selected], directory: Path, sort: bool
) -> Iterator[dict[str, Any]]:
    """Cut or drop the documents that hold n-grams of the evaluation sets; a row of each. Pieces go to `directory`."""
    known = evaluation(config)
    common = _documents_with(sources, len(known.hashes)) > config.maximum_documents
    cleaner = Cleaner(config, known, directory, sort)
    for source in sources:
        yield from cleaner.clean(source, common)


def _documents_with(sources: list[Selected], ngrams: int) -> npt.NDArray[np.int64]:
    """[G] kept documents that hold each n-gram."""
    counts = np.zeros(ngrams, dtype=np.int64)
    for source in sources:
        for run, keep in zip(source.runs, source.keep, strict=True):
            found = run.mark("hits")
            found = found[keep[found["row"]] == TRAIN]
            once = np.unique(found["row"].astype(np.int64) * ngrams + found["ngram"])
            counts += np.bincount(once % ngrams, minlength=ngrams)
    return counts
