"""Gopher's rules of quality (Rae et al. 2021, section A1.1). A word is what stands between spaces."""

from __future__ import annotations

import re

from pretrain.config.clean import GopherQuality
from pretrain.corpus.clean import Dropped, Rule

LETTER = re.compile(r"[^\W\d_]")
AROUND = ".,;:!?\"'()[]{}<>"
"""What may stand around a word that is meant."""


def gopher_quality(config: GopherQuality) -> Rule:
    """Drops documents that do not look like prose; changes nothing."""
    stop_words = frozenset(config.stop_words)

    def rule(text: str) -> str | Dropped:
        words = text.split()
        reason = _length(words, config) or _symbols(text, len(words), config) or _lines(text, config)
        if reason:
            return Dropped(reason)
        if sum(map(_has_letter, words)) < config.alphabetic * len(words):
            return Dropped("alphabetic")
        return text if _holds(words, stop_words, config.minimum_stop_words) else Dropped("minimum_stop_words")

    return rule


def _holds(words: list[str], stop_words: frozenset[str], minimum: int) -> bool:
    """Prose holds them soon: the rest is not looked at."""
    found = set[str]()
    for word in words:
        if len(found) >= minimum:
            return True
        found.update(stop_words.intersection((word.lower().strip(AROUND),)))
    return len(found) >= minimum


def _has_letter(word: str) -> bool:
    return word.isalpha() or LETTER.search(word) is not None


def _length(words: list[str], config: GopherQuality) -> str:
    if len(words) < config.minimum_words:
        return "minimum_words"
    if len(words) > config.maximum_words:
        return "maximum_words"
    mean = sum(map(len, words)) / len(words) if words else 0.0
    if mean < config.minimum_word_length:
        return "minimum_word_length"
    return "maximum_word_length" if mean > config.maximum_word_length else ""


def _symbols(text: str, words: int, config: GopherQuality) -> str:
    most = config.symbols * words
    return "symbols" if text.count("#") > most or text.count("...") + text.count("…") > most else ""


def _lines(text: str, config: GopherQuality) -> str:
    lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
    if sum(line.startswith(("•", "-", "*")) for line in lines) > config.bullets * len(lines):
        return "bullets"
    return "ellipses" if sum(line.endswith(("...", "…")) for line in lines) > config.ellipses * len(lines) else ""
