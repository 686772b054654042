"""C4's rules (Raffel et al. 2020, section 2.2)."""

from __future__ import annotations

import re

from pretrain.config.clean import C4
from pretrain.corpus.clean import Dropped, Rule

ENDS = (".", "?", "!", '"', "'")
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
SENTENCE_END = re.compile(r"[.?!]+[\"')\]]*(?=\s|$)")
"""Good enough for counting: lines that are kept end with one."""


def c4(config: C4) -> Rule:
    """Keeps the lines of a page that pass, and the page if enough sentences are left."""

    def rule(text: str) -> str | Dropped:
        lowered = text.lower()
        if config.lorem_ipsum and "lorem ipsum" in lowered:
            return Dropped("lorem_ipsum")
        if config.curly_brackets and "{" in text:
            return Dropped("curly_brackets")
        lines = [line for line in map(str.strip, CITATION.sub("", text).splitlines()) if _kept(line, config)]
        if sum(len(SENTENCE_END.findall(line)) or 1 for line in lines) < config.minimum_sentences:
            return Dropped("minimum_sentences")
        return "\n".join(lines)

    return rule


def _kept(line: str, config: C4) -> bool:
    if config.terminal_punctuation and (not line.endswith(ENDS) or line.endswith("...")):
        return False
    words = line.split()
    if len(words) < config.minimum_words or max(map(len, words), default=0) > config.maximum_word_length:
        return False
    lowered = line.lower()
    if config.javascript and "javascript" in lowered:
        return False
    return not any(policy in lowered for policy in config.policies)
