"""report.html: what happened to the documents of a corpus, on one page without scripts, fonts or network."""

from __future__ import annotations

from pathlib import Path

from pretrain import page
from pretrain.corpus.report import found, sections
from pretrain.corpus.workspace import REPORT
from pretrain.page import Section
from pretrain.page.html import join, tag
from pretrain.shards.files import write_where_asked
from pretrain.shards.manifest import Manifest


def write(manifest: Manifest, folder: Path, out: Path | None = None) -> Path:
    """Write the page to `out`, or into `folder`, and return its path. Raises ConfigError when it cannot be written."""
    out = out or folder / REPORT
    write_where_asked(out, render(manifest, folder).encode())
    return out


def render(manifest: Manifest, folder: Path) -> str:
    """The page, a function of the manifest and of the files beside it in `folder`; what is missing there is left out.

    It names no time and no directory of the corpus, so equal corpora have equal reports.
    """
    about = f"Tokenizer {manifest.tokenizer.fingerprint} ({manifest.tokenizer.vocab_size:,} entries), "
    about += f"corpus {manifest.fingerprint()}, made by pretrain {manifest.code_version}."
    header = join(tag("h1", "Corpus ", manifest.name), tag("p", about), sections.headline(manifest))
    return page.render(f"Corpus {manifest.name}", header, _sections(manifest, folder), page.stylesheet(__package__))


def _sections(manifest: Manifest, folder: Path) -> list[Section]:
    statistics = found.statistics(folder)
    measures = [Section(title, about, make(statistics)) for title, about, make in MEASURES]
    return [
        Section("Sources", "Training documents, without the validation documents.", sections.sources(manifest)),
        Section("Flow", FLOW, sections.stages(manifest)),
        Section("Lengths", "Documents by bytes of text, in powers of two.", sections.lengths(statistics)),
        *measures,
        Section("Near-duplicates", DUPLICATES, sections.duplicates(folder)),
        Section("Benchmarks", BENCHMARKS, sections.contamination(folder)),
        Section("Samples", SAMPLES, sections.samples(statistics, folder)),
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
