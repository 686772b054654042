"""The schema of cleaning: which rules documents of a source must pass. Rules apply in the order of the fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from pretrain.config.languages import known_language
from pretrain.config.own import Own
from pretrain.config.section import Section

Share = Annotated[float, Field(ge=0, le=1)]
Words = Annotated[int, Field(ge=2)]
TOP = {2: 0.20, 3: 0.18, 4: 0.16}
REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
Bucket = Literal["head", "middle", "tail"]
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


class Language(Section):
    """Keep documents of some languages (fastText's lid.176, as CCNet and FineWeb do)."""

    keep: tuple[Annotated[str, AfterValidator(known_language)], ...] = Field(min_length=1)
    """Codes of Wikipedias, such as en, ko, de."""
    minimum_score: float = Field(0.65, ge=0, le=1)
    """How sure the model must be of the language."""
    characters: int = Field(4_000, ge=1)
    """It reads so many, from the beginning of a document."""


class GopherRepetition(Section):
    """Drop documents that repeat themselves (Rae et al. 2021, Table A1). Shares of lines, paragraphs or characters."""

    lines: float = Field(0.30, ge=0, le=1)
    """Most lines that stood before."""
    paragraphs: float = Field(0.30, ge=0, le=1)
    """Most paragraphs that stood before."""
    line_characters: float = Field(0.20, ge=0, le=1)
    """Most characters in such lines."""
    paragraph_characters: float = Field(0.20, ge=0, le=1)
    """Most characters in such paragraphs."""
    top_ngrams: dict[Words, Share] = TOP
    """Words -> most characters in the n-gram that stands most often."""
    repeated_ngrams: dict[Words, Share] = REPEATED
    """Words -> most characters in n-grams that stood before."""


class GopherQuality(Section):
    """Drop documents that do not look like prose (Rae et al. 2021, section A1.1)."""

    minimum_words: int = Field(50, ge=0)
    maximum_words: int = Field(100_000, ge=1)
    minimum_word_length: float = Field(3, ge=0)
    """Mean length of a word, in characters."""
    maximum_word_length: float = Field(10, ge=0)
    symbols: float = Field(0.1, ge=0)
    """Most hash signs, and most ellipses, for each word."""
    bullets: float = Field(0.9, ge=0, le=1)
    """Most lines that begin with a bullet."""
    ellipses: float = Field(0.3, ge=0, le=1)
    """Most lines that end with an ellipsis."""
    alphabetic: float = Field(0.8, ge=0, le=1)
    """Fewest words that hold a letter."""
    stop_words: tuple[str, ...] = STOP_WORDS
    """In the language of the source."""
    minimum_stop_words: int = Field(2, ge=0)
    """Different ones."""


class C4(Section):
    """C4's rules for lines and pages (Raffel et al. 2020, section 2.2), but for the list of bad words."""

    minimum_sentences: int = Field(5, ge=0)
    """Of what is left of a page."""
    minimum_words: int = Field(3, ge=0)
    """Of a line that is kept."""
    maximum_word_length: int = Field(1000, ge=1)
    """Characters of a word of a line that is kept."""
    terminal_punctuation: bool = True
    """Keep only lines that end a sentence."""
    javascript: bool = True
    """Leave out lines that speak of JavaScript."""
    policies: tuple[str, ...] = POLICIES
    """Leave out lines that hold one of these."""
    lorem_ipsum: bool = True
    """Drop pages with it."""
    curly_brackets: bool = True
    """Drop pages with one: they are code."""


class Classifier(Section):
    """GPT-3's filter: documents that look like good ones are kept more often (Brown et al. 2020, Appendix A)."""

    path: str
    """Folder that `pretrain corpus train-classifier` wrote."""
    alpha: float = Field(9, gt=0)
    """Documents are kept when pareto(alpha) > 1 - score; the higher, the fewer of low score."""


class Perplexity(Section):
    """CCNet's filter: how likely a language model of good text finds documents (Wenzek et al. 2020, section 3.4)."""

    path: str
    """Folder that `pretrain corpus train-perplexity` wrote."""
    keep: tuple[Bucket, ...] | None = Field(None, min_length=1)
    """Thirds of the raw documents, by perplexity. Default: head and middle."""
    maximum: float | None = Field(None, gt=1)
    """Keep documents up to this perplexity instead."""

    @model_validator(mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        keep, maximum = value.get("keep"), value.get("maximum")
        if keep is not None and maximum is not None:
            raise ValueError("keep and maximum exclude each other; fix: remove one of them")
        return value if maximum is not None or keep is not None else {**value, "keep": ("head", "middle")}


class PersonalData(Section):
    """Put a mark such as <EMAIL> in the place of personal data (as Li et al. 2023, section 4)."""

    kinds: tuple[Literal["email", "phone", "ip", "card"], ...] = Field(("email", "phone", "ip", "card"), min_length=1)
    """Addresses of mail, numbers of telephones, public addresses of the internet, numbers of payment cards."""


class Cleaning(Section):
    """The rules of a source; those that are not named do not apply."""

    unicode: bool = False
    """Repair text that was decoded wrongly (ftfy)."""
    language: Language | None = None
    gopher_repetition: GopherRepetition | None = None
    gopher_quality: GopherQuality | None = None
    c4: C4 | None = None
    classifier: Classifier | None = None
    perplexity: Perplexity | None = None
    own: tuple[Own, ...] | None = None
    """Rules of your own, by import path (docs/own-parts.md)."""
    personal_data: PersonalData | None = None

    @property
    def own_rules(self) -> dict[str, Own]:
        """Own rules by name: the import path, with a number where one stands twice."""
        named: dict[str, Own] = {}
        for own in self.own or ():
            before = sum(other.path == own.path for other in named.values())
            named[f"{own.path} ({before + 1})" if before else own.path] = own
        return named
