"""Lines that stand in many documents: the first stays, the others go (Wenzek et al. 2020, section 3.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pretrain.config.across import Lines
from pretrain.corpus.across.exact import ranges, repeated
from pretrain.corpus.across.words import Words
from pretrain.corpus.spill import DROPPED, Run

PARAGRAPH = re.compile(r"\n(?:[^\S\n]*\n)+")


def line_marks(config: Lines, texts: Sequence[str], start: int) -> dict[str, npt.NDArray[Any]]:
    """line_hashes [L] of all lines, 0 for those that may repeat, and line_rows [L], counted from `start`."""
    split = [split_text(config, text) for text in texts]
    words = Words.of([line for lines in split for line in lines])
    hashes = np.where(words.counts >= config.minimum_words, words.of_texts(), np.uint64(0))
    rows = np.repeat(np.arange(start, start + len(texts), dtype=np.uint32), [len(lines) for lines in split])
    return {"line_hashes": hashes, "line_rows": rows}


def split_text(config: Lines, text: str) -> list[str]:
    """The lines, or paragraphs, of a text."""
    return text.split("\n") if config.unit == "line" else PARAGRAPH.split(text)


def without(config: Lines, text: str, keep: npt.NDArray[np.bool_]) -> str:
    """A text with those of its lines [lines] that are kept; the text itself when that is all of them."""
    if keep.all():
        return text
    lines = [line for line, kept in zip(split_text(config, text), keep, strict=True) if kept]
    return ("\n" if config.unit == "line" else "\n\n").join(lines)


def find_repeated(runs: Sequence[Run]) -> None:
    """Write line_keep.npy [L] beside every run. Runs come in the order in which documents have precedence.

    Lines of documents that are dropped already stand nowhere.
    """
    orders = [np.argsort(run.keys["place"][run.mark("line_rows")], kind="stable") for run in runs]
    keeps = [np.ones(len(order), dtype=bool) for order in orders]
    for low, high in ranges(sum(map(len, orders))) if runs else ():
        rows = []
        for run, order in zip(runs, orders, strict=True):
            hashes = run.mark("line_hashes")[order]
            inside = (hashes >= np.uint64(max(low, 1))) & (hashes <= np.uint64(high - 1))
            rows.append(order[inside & (run.keep[run.mark("line_rows")[order]] != DROPPED)])
        hashes = np.concatenate([run.mark("line_hashes")[row] for run, row in zip(runs, rows, strict=True)])
        again = np.split(repeated(hashes), np.cumsum([len(row) for row in rows])[:-1])
        for keep, row, part in zip(keeps, rows, again, strict=True):
            keep[row[part]] = False
    for run, keep in zip(runs, keeps, strict=True):
        run.save_mark("line_keep", keep)
