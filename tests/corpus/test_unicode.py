"""Repair of Unicode: the same as ftfy's fix_text, whose examples these are."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from ftfy import fix_text

from pretrain.corpus.clean.unicode import SUSPECT, repair
from tests.corpus.real import real_documents


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("âœ” No problems", "✔ No problems"),
        ("one\ncaf\u00c3\u00a9\r\ntwo\n", "one\ncafé\ntwo\n"),
        ("Broken text&hellip; it&#x2019;s ﬂubberiﬁc!", "Broken text… it's flubberific!"),
        ("<p>\nA&amp;B", "<p>\nA&amp;B"),
        ("A&amp;B\n<p>\nA&amp;B\n", "A&B\n<p>\nA&amp;B\n"),
        ("\x1b[36;44mblue\x1b[0m", "blue"),
        ("한글은 그대로", "한글은 그대로"),
        ("\u1112\u1161\u11ab", "한"),
        ("カ\u3099", "ガ"),
        ("", ""),
    ],
)
def test_examples(text: str, repaired: str) -> None:
    assert repair(text) == repaired == fix_text(text)


def test_what_is_not_suspect_is_left_alone_by_ftfy() -> None:
    """Every such character, alone and among the others."""
    plain = [chr(code) for code in range(0x10000) if not SUSPECT.search(chr(code))]
    assert len(plain) == 2 + 95 + 11_172 + 86 + 90 + 20_992
    random.Random(0).shuffle(plain)
    line = "".join(char for char in plain if char not in "\n<&")
    assert fix_text(line) == line and all(fix_text(char) == char for char in plain[:2_000])


def test_mixtures_of_lines_are_as_ftfy_leaves_them() -> None:
    draw = random.Random(1)
    pieces = [
        "plain ",
        "\n",
        "\r\n",
        "\r",
        "Ã©",
        "â€œ",
        "”",
        "&lt;",
        "&eacute;",
        "<b>",
        "한",
        "\x00",
        "ﬁ",
        "Ａ",
        "\u2028",
    ]
    for _ in range(500):
        text = "".join(draw.choices(pieces, k=12))
        assert repair(text) == fix_text(text), text


def test_real_text_is_as_ftfy_leaves_it(data: Path) -> None:
    for name in ("web", "ko"):
        for text in real_documents(data, name, 60):
            assert repair(text) == fix_text(text)
