"""report.html: what happened to the documents of a corpus, on one page without scripts, fonts or network."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pretrain.corpus.report import found, sections
from pretrain.corpus.report.html import Html, join, tag
from pretrain.corpus.workspace import REPORT
from pretrain.shards.files import write_atomically
from pretrain.shards.manifest import Manifest

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Texts are escaped; should one ever get through, the browser still runs and fetches nothing."""


class Section(NamedTuple):
    """A part of the page."""

    title: str
    about: str
    body: Callable[[], Html]


def write(manifest: Manifest, folder: Path, out: Path | None = None) -> Path:
    """Write the page to `out`, or into `folder`, and return its path. Raises ConfigError when the disk is full."""
    out = out or folder / REPORT
    write_atomically(out, render(manifest, folder).encode())
    return out


def render(manifest: Manifest, folder: Path) -> str:
    """The page, a function of the manifest and of the files beside it in `folder`; what is missing there is left out.

    It names no time and no directory of the corpus, so equal corpora have equal reports.
    """
    shown = [(section, body) for section in _sections(manifest, folder) if (body := section.body())]
    anchors = (tag("a", section.title, href=f"#{i}") for i, (section, _) in enumerate(shown))
    parts = (
        tag("section", tag("h2", section.title), tag("p", section.about), body, id=i)
        for i, (section, body) in enumerate(shown)
    )
    about = f"Tokenizer {manifest.tokenizer.fingerprint} ({manifest.tokenizer.vocab_size:,} entries), "
    about += f"corpus {manifest.fingerprint()}, made by pretrain {manifest.code_version}."
    title = tag("h1", "Corpus ", manifest.name)
    header = tag("header", title, tag("p", about), sections.headline(manifest), tag("nav", *anchors))
    return _page(manifest.name, join(header, *parts))


def _page(name: str, body: Html) -> str:
    style = importlib.resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    head = (
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        tag("title", f"Corpus {name}"),
        tag("style", Html(style)),
    )
    return f"<!doctype html>\n{tag('html', tag('head', *head), tag('body', body), lang='en')}\n"


def _sections(manifest: Manifest, folder: Path) -> list[Section]:
    statistics = found.statistics(folder)
    measures = [
        Section(title, about, lambda make=make: make(statistics))  # type: ignore[misc]
        for title, about, make in MEASURES
    ]
    return [
        Section("Sources", "Training documents, without the validation documents.", lambda: sections.sources(manifest)),
        Section("Flow", FLOW, lambda: sections.stages(manifest)),
        Section("Lengths", "Documents by bytes of text, in powers of two.", lambda: sections.lengths(statistics)),
        *measures,
        Section("Near-duplicates", DUPLICATES, lambda: sections.duplicates(folder)),
        Section("Benchmarks", BENCHMARKS, lambda: sections.contamination(folder)),
        Section("Samples", SAMPLES, lambda: sections.samples(statistics, folder)),
    ]


FLOW = (
    "Above each line documents, below it bytes of text, as shares of what was found in the source. "
    "Numbers stand where a stage changes something; what it takes is red."
)
DUPLICATES = "Clusters of nearly equal documents, over all sources. The first in the order of the sources is kept."
BENCHMARKS = "Documents that hold texts of the evaluation sets, and what became of them."
SAMPLES = (
    "The beginnings of some documents: kept ones as they are trained on, dropped ones with the rule and its reason."
)
MEASURES = [
    ("Languages", "Documents that came to language identification, by language.", sections.by_count("language")),
    ("Classifier", "Documents by the score of the quality classifier.", sections.deciles("classifier_score")),
    ("Perplexity", "Documents by bucket of perplexity; the head is likeliest.", sections.in_order("perplexity")),
    ("Personal data", "Pieces of personal data that were replaced by a mark.", sections.by_count("personal_data")),
]
