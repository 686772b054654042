"""Elements of HTML and SVG. What is not Html already is escaped: texts of documents come from anywhere."""

from __future__ import annotations

import html
import re
from typing import Any

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What HTML does not allow, even escaped; newline and tab stay."""


class Html(str):
    """Text that is HTML."""


def escaped(value: object) -> str:
    """A value as it may stand in an element or attribute; floats are rounded to what a screen can show."""
    if isinstance(value, Html):
        return value
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return html.escape(CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text))


def join(*parts: object) -> Html:
    """Parts one after the other."""
    return Html("".join(map(escaped, parts)))


def tag(name: str, *inner: object, **attributes: object) -> Html:
    """An element; `class_` is the attribute class, `text_anchor` text-anchor."""
    given = (f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{''.join(given)}>{join(*inner)}</{name}>")


def table(headings: list[str], rows: list[list[Any]], class_: str = "") -> Html:
    """Whole numbers get separators; columns of numbers are aligned to the right."""
    numbers = [all(_is_number(row[i]) for row in rows) for i in range(len(headings))]
    body = (tag("tr", *map(_cell, map(_separated, row), numbers)) for row in rows)
    head = tag("tr", *(_cell(heading, number, "th") for heading, number in zip(headings, numbers, strict=True)))
    whole = tag("table", tag("thead", head), tag("tbody", *body), class_=class_)
    return tag("div", whole, class_="scroll")


def _cell(value: object, number: bool, name: str = "td") -> Html:
    return tag(name, value, class_="number") if number else tag(name, value)


def _separated(value: object) -> object:
    return f"{value:,}" if isinstance(value, int) else value


def _is_number(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and bool(re.fullmatch(r"-?[0-9.]*%?", value)))


def share(part: float, whole: float) -> str:
    """12.3%"""
    return f"{part / whole:.1%}" if whole else "0.0%"
