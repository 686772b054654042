"""`tokenizer compare`: several tokenizers on the same texts, source by source."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from pretrain.config.errors import ConfigError
from pretrain.corpus.show import plain_table
from tokenizer import Tokenizer, load_tokenizer
from tokenizer.measure import Measured, measure

ALL = "all"


@dataclass(frozen=True)
class Compared:
    """One tokenizer on one source, or on all of them."""

    tokenizer: str
    source: str
    measured: Measured

    def plain(self, loaded: Tokenizer) -> dict[str, Any]:
        """As JSON holds it."""
        names = ("bytes_per_token", "tokens_per_word", "partial_share", "megabytes_per_second")
        about = {"tokenizer": self.tokenizer, "fingerprint": loaded.fingerprint, "vocab_size": loaded.vocab_size}
        about |= {"backend": loaded.backend.name, "source": self.source}
        return about | asdict(self.measured) | {name: getattr(self.measured, name) for name in names}


def load_named(paths: list[Path]) -> dict[str, Tokenizer]:
    """Tokenizers by the last part of their path, or by the whole one where two end alike. Raises ConfigError."""
    last = [path.resolve().name for path in paths]
    names = [name if last.count(name) == 1 else str(path) for name, path in zip(last, paths, strict=True)]
    return {name: load_tokenizer(path) for name, path in zip(names, paths, strict=True)}


def compare(tokenizers: dict[str, Tokenizer], sources: dict[str, list[str]]) -> list[Compared]:
    """Each tokenizer on each source and, of several, on all. Raises ConfigError for a source without text."""
    for name, texts in sources.items():
        if not any(texts):
            fix = "give more text, or a larger --sample: a first document must fit in it"
            raise ConfigError.of("files", name, "has no text", fix)
    compared = []
    for label, tokenizer in tokenizers.items():
        rows = [Compared(label, name, measure(tokenizer, texts)) for name, texts in sources.items()]
        total = sum((row.measured for row in rows), Measured())
        compared += rows + ([Compared(label, ALL, total)] if len(rows) > 1 else [])
    return compared


def comparison_table(tokenizers: dict[str, Tokenizer], compared: list[Compared]) -> Table:
    """A row for each, source by source, so that what is compared stands together."""
    headings = ["entries", "B/token", "tokens/word", "partial", "MB/s"]
    title = "bytes a token, tokens a word, tokens that are no whole characters, CPU speed"
    table = plain_table(title, ["source", "tokenizer"], headings)
    for source in dict.fromkeys(row.source for row in compared):
        table.add_section()
        for row in (row for row in compared if row.source == source):
            one = row.measured
            cells = [f"{one.bytes_per_token:.3f}", f"{one.tokens_per_word:.3f}", f"{one.partial_share:.2%}"]
            entries = f"{tokenizers[row.tokenizer].vocab_size:,}"
            table.add_row(source, row.tokenizer, entries, *cells, f"{one.megabytes_per_second:.1f}")
    return table
