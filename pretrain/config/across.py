"""The schema of what looks across documents: duplicates, lines that stand everywhere, texts of benchmarks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pretrain.config.section import Section
from pretrain.config.units import Count


class Lines(Section):
    """Remove lines or paragraphs that stood before in any document (Wenzek et al. 2020, section 3.1)."""

    unit: Literal["line", "paragraph"] = "line"
    """What is compared, without case and punctuation; paragraphs have an empty line between them."""
    minimum_words: Count = Field(1, ge=1)
    """Shorter ones may stand as often as they like."""


class Fuzzy(Section):
    """Of documents that are nearly equal keep the first: MinHash (Broder 1997) with bands, as Lee et al. 2022 do."""

    threshold: float = Field(0.7, gt=0, lt=1)
    """Jaccard similarity of the sets of n-grams, estimated, from which two documents are duplicates."""
    ngram: Count = Field(5, ge=1)
    """Words of an n-gram; documents with fewer are never duplicates."""
    hashes: Count = Field(128, ge=8, le=1024)
    """Of a signature: 4 bytes each a document."""


class Deduplication(Section):
    """Of equal documents the first stays, in the order of sources, files and records. `true`: exact; `false`: none."""

    exact: bool = True
    """Drop documents whose text is exactly that of an earlier one, in any source."""
    lines: Lines | None = None
    fuzzy: Fuzzy | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_bool(cls, value: object) -> object:
        return {"exact": value} if isinstance(value, bool) else value


class Decontamination(Section):
    """Take texts of benchmarks out of the training documents (Brown et al. 2020, Appendix C)."""

    files: tuple[str, ...] = Field(min_length=1)
    """Evaluation sets: JSON Lines (all texts of an object are one example) or text (an example a line); globs."""
    action: Literal["split", "drop"] = "split"
    """split: cut out the match and its surroundings. drop: leave out every document with a match."""
    ngram: Count = Field(13, ge=2)
    """Words that must be equal. Examples with fewer are not looked for."""
    window: Count = Field(200, ge=0)
    """Characters taken out on each side of a match."""
    minimum_characters: Count = Field(200, ge=1)
    """Pieces of which less is left are dropped."""
    maximum_pieces: Count = Field(10, ge=1)
    """Documents that fall into more are dropped whole."""
    maximum_documents: Count = Field(10, ge=1)
    """An n-gram that stands in more documents than these is common knowledge and no match."""

    @model_validator(mode="before")
    @classmethod
    def _one_file(cls, value: object) -> object:
        if isinstance(value, dict) and isinstance(value.get("files"), str):
            return {**value, "files": (value["files"],)}
        return value
