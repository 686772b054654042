"""Repair of text that was decoded wrongly. What comes out is what ftfy's fix_text makes of it, sooner."""

from __future__ import annotations

import re

SUSPECT = re.compile(r"[^\t\n -~가-힣ぁ-ゖァ-ヺ一-鿿]|&#?[0-9A-Za-z]{1,24};")
"""What ftfy may change: none of ASCII's letters and signs, of Hangul's syllables, of kana and Han; HTML's entities."""


def repair(text: str) -> str:
    """fix_text works line by line; lines that hold nothing suspect are as it would leave them."""
    from ftfy import fix_text

    done, parts, tag = 0, list[str](), text.find("<")
    while suspect := SUSPECT.search(text, done):
        start = max(done, text.rfind("\n", done, suspect.start()) + 1)
        end = text.find("\n", suspect.end()) + 1 or len(text)
        # entities are meant in text that has tags: fix_text leaves them alone from the first one on
        entities = False if 0 <= tag < start else "auto"
        parts += text[done:start], fix_text(text[start:end], unescape_html=entities)
        done = end
    return "".join([*parts, text[done:]]) if parts else text
