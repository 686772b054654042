"""The frame of a report: one page of HTML without scripts, fonts or network."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable
from typing import NamedTuple

from pretrain.page.html import Html, join, tag

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Texts are escaped; should one ever get through, the browser still runs and fetches nothing."""


class Section(NamedTuple):
    """A part of the page. One without a body is not shown."""

    title: str
    about: str
    body: Html


def render(title: str, header: Html, sections: Iterable[Section], style: Html) -> str:
    """The page: header, links to the sections, sections. `style` is CSS added to that of all reports."""
    shown = [section for section in sections if section.body]
    anchors = (tag("a", section.title, href=f"#{i}") for i, section in enumerate(shown))
    parts = (
        tag("section", tag("h2", section.title), tag("p", section.about), section.body, id=i)
        for i, section in enumerate(shown)
    )
    body = join(tag("header", header, tag("nav", *anchors)), *parts)
    head = (
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        tag("title", title),
        tag("style", stylesheet(__package__), style),
    )
    return f"<!doctype html>\n{tag('html', tag('head', *head), tag('body', body), lang='en')}\n"


def stylesheet(package: str) -> Html:
    """The style.css that lies in a package."""
    return Html(importlib.resources.files(package).joinpath("style.css").read_text(encoding="utf-8"))
