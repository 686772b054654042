"""Gopher's and C4's rules against datatrove's, on real documents, with the same words and sentences for both.

Where they differ is known, and in docs/corpus.md; the tables here have every document that they do not agree on.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pretrain.config.clean import Cleaning
from pretrain.corpus.clean import Dropped, Tallies, rules
from pretrain.corpus.clean.c4 import SENTENCE_END
from tests.corpus.real import real_documents

DOCUMENTS = 100
CHARACTERS = 15_000
"""Longer ones take datatrove long."""
SOURCES = ("web", "webtext", "wiki", "books")


def peer(rule: str) -> Any:
    """datatrove's filter. Its own splitters are libraries that are not installed here."""
    from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.utils.word_tokenizers import WhitespaceTokenizer

    class Plain(WhitespaceTokenizer):  # type: ignore[misc]
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            ends = [match.end() for match in SENTENCE_END.finditer(text)]
            return list(zip([0, *ends], ends, strict=False)) or [(0, len(text))]

    filters = {
        "gopher_repetition": GopherRepetitionFilter,
        "gopher_quality": GopherQualityFilter,
        "c4": C4QualityFilter,
    }
    return filters[rule](language=Plain())


@cache
def texts(folder: Path) -> list[str]:
    read = (text for source in SOURCES for text in real_documents(folder, source, DOCUMENTS))
    return [text for text in read if len(text) < CHARACTERS]


@cache
def both(rule: str, text: str) -> tuple[str, str, bool]:
    """Our reason, their reason (empty: kept), and whether the same text is left."""
    from datatrove.data import Document

    ours, document = made(rule)[0](text), Document(text, "0")
    theirs = made(rule)[1].filter(document)
    return (
        ours.reason if isinstance(ours, Dropped) else "",
        "" if theirs is True else theirs[1],
        ours == document.text,
    )


@cache
def made(rule: str) -> tuple[Any, Any]:
    return rules(Cleaning.parse({rule: {}}), Tallies())[rule], peer(rule)


@pytest.mark.parametrize(
    ("rule", "agreed", "differ"),
    [
        # an n-gram that stands once; words of overlapping n-grams that stood before, which datatrove skips
        ("gopher_repetition", 293, {("", "top_2_gram"): 14, ("", "top_3_gram"): 7, ("", "top_4_gram"): 24,
                                    ("repeated_ngrams.5", ""): 1}),
        # "The" is a stop word here; a bullet is a word here
        ("gopher_quality", 337, {("", "gopher_enough_stop_words"): 1, ("", "gopher_short_doc"): 1}),
        # a bracket anywhere on the page, not only in a line that would be kept
        ("c4", 306, {("curly_brackets", ""): 33}),
    ],
)  # fmt: skip
def test_decisions_on_real_documents(data: Path, rule: str, agreed: int, differ: dict[tuple[str, str], int]) -> None:
    """Ours, theirs -> documents that one of them drops and the other keeps; "" is kept."""
    reasons = [both(rule, text) for text in texts(data)]
    assert Counter((a, b) for a, b, _ in reasons if bool(a) != bool(b)) == differ
    assert sum(bool(a) == bool(b) for a, b, _ in reasons) == agreed
    assert all(same for a, b, same in reasons if not a and not b)


def test_where_an_ngram_stands_once_only_datatrove_drops(data: Path) -> None:
    """Of documents of fifty words and more, which Gopher's rules of quality keep, all that it drops we drop."""
    long = [text for text in texts(data) if len(text.split()) >= 50]
    reasons = [both("gopher_repetition", text)[:2] for text in long]
    assert [(a, b) for a, b in reasons if b and not a] == []
    assert (len(long), sum(bool(a) for a, _ in reasons), sum(bool(b) for _, b in reasons)) == (226, 14, 13)
