"""A section of the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pretrain.monitoring.report.read import RunRecord
from pretrain.page.html import Html, join, tag
from pretrain.page.picture import Picture


class Part(NamedTuple):
    """What a section has to show."""

    title: str
    about: str
    body: Html
    pictures: tuple[Picture, ...] = ()
    """Those in the body, to be written beside the page."""


Section = Callable[[Sequence[RunRecord]], Part | None]
"""To add one: a file in sections/ with such a function, and a line in sections/__init__.py. None: nothing to show."""


def plots(pictures: Sequence[Picture]) -> Html:
    """Figures side by side, as many as there is room for."""
    class_ = "plots wide" if pictures and pictures[0].wide else "plots"
    return tag("div", *(picture.html() for picture in pictures), class_=class_)


def notes(texts: Sequence[str]) -> Html:
    """A paragraph for each."""
    return join(*(tag("p", text) for text in texts))
