"""`show`: what a corpus holds, as numbers and as tables."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pretrain.config.corpus import normalised
from pretrain.config.units import short
from pretrain.shards.manifest import Manifest
from pretrain.shards.repetition import repeated


@dataclass(frozen=True)
class SourceSummary:
    """One source of a corpus."""

    name: str
    documents: int
    """Training documents."""
    tokens: int
    """Training tokens, ends of documents included."""
    text_bytes: int
    """Bytes of training text."""
    validation_tokens: int
    share: float
    """Share of training tokens by weight."""
    natural_share: float
    """Share of training tokens if every document were seen equally often."""
    epochs: float | None
    """How often a run of the given length sees each training token; None without a length."""

    @property
    def bytes_per_token(self) -> float:
        """Bytes of text a token, over the training documents."""
        return self.text_bytes / self.tokens


def summarize(manifest: Manifest, run_tokens: int | None = None) -> list[SourceSummary]:
    """A summary of each source, with its epochs over a run of `run_tokens` training tokens."""
    weights = {name: Decimal(source.weight) for name, source in manifest.sources.items()}
    weight_sum = sum(weights.values()) or Decimal(1)
    tokens = sum(source.splits["train"].tokens for source in manifest.sources.values())
    summaries = []
    for name, source in manifest.sources.items():
        train, share = source.splits["train"], float(weights[name] / weight_sum)
        epochs = None if run_tokens is None else share * run_tokens / train.tokens
        validation = source.splits["validation"].tokens
        counts = (train.documents, train.tokens, train.text_bytes, validation)
        summaries.append(SourceSummary(name, *counts, share, train.tokens / tokens, epochs))
    return summaries


def print_manifest(manifest: Manifest, run_tokens: int | None = None, console: Console | None = None) -> None:
    """Print the sources and the stages of a corpus."""
    console = console or terminal()
    tokenizer = manifest.tokenizer
    console.print(
        f"{manifest.name}: tokenizer {tokenizer.fingerprint} ({tokenizer.vocab_size:,} entries), "
        f"tokens as {manifest.dtype}, made by pretrain {manifest.code_version}, fingerprint {manifest.fingerprint()}",
        soft_wrap=True,
    )
    if manifest.packing:
        console.print(_packing(manifest), soft_wrap=True)
    if note := normalised({name: Decimal(source.weight) for name, source in manifest.sources.items()}):
        console.print(note, soft_wrap=True)
    summaries = summarize(manifest, run_tokens)
    console.print(_sources(summaries, run_tokens))
    for warning in repeated({one.name: one.epochs or 0.0 for one in summaries}):
        console.print(warning, soft_wrap=True)
    if any(source.stages for source in manifest.sources.values()):
        console.print(_stages(manifest))


def _packing(manifest: Manifest) -> str:
    """What packing costs, over all training documents."""
    packing, splits = manifest.packing, [source.splits["train"] for source in manifest.sources.values()]
    assert packing is not None
    documents, tokens = sum(split.documents for split in splits) or 1, sum(split.tokens for split in splits) or 1
    cut, padding = sum(split.cut_documents for split in splits), sum(split.padding_tokens for split in splits)
    return (
        f"packed ({packing.method}) into samples of {packing.sequence_length:,} tokens: {cut / documents:.2%} of the "
        f"documents are cut, {padding / tokens:.3%} of the tokens are padding"
    )


def terminal() -> Console:
    """Standard output; pipes and logs get lines long enough for the tables."""
    return Console(width=None if sys.stdout.isatty() else 120)


def _sources(summaries: list[SourceSummary], run_tokens: int | None) -> Table:
    headings = ["docs", "tokens", "bytes", "B/token", "share", "natural", "valid."]
    title = "training tokens (share: by weight, natural: by size)"
    if run_tokens is not None:
        headings.append("epochs")
        title += f"; epochs of a run of {short(run_tokens)}"
    table = plain_table(title, ["source"], headings)
    for one in summaries:
        counts = [short(one.documents), short(one.tokens), short(one.text_bytes), f"{one.bytes_per_token:.2f}"]
        cells = [*counts, f"{one.share:.1%}", f"{one.natural_share:.1%}", short(one.validation_tokens)]
        table.add_row(one.name, *cells, *([f"{one.epochs:.3g}"] if one.epochs is not None else []))
    totals = [sum(getattr(one, what) for one in summaries) for what in ("documents", "tokens", "text_bytes")]
    validation = sum(one.validation_tokens for one in summaries)
    table.add_row("all", *map(short, totals), f"{totals[2] / totals[1]:.2f}", "", "", short(validation))
    return table


def _stages(manifest: Manifest) -> Table:
    headings = ["docs in", "out", "dropped", "bytes in", "out"]
    table = plain_table("documents through the stages", ["source", "stage"], headings)
    for name, source in manifest.sources.items():
        for stage in source.stages:
            dropped = stage.documents_in - stage.documents_out
            counts = (stage.documents_in, stage.documents_out, dropped, stage.bytes_in, stage.bytes_out)
            table.add_row(name, stage.name, *map(short, counts))
    return table


def plain_table(title: str, names: list[str], numbers: list[str]) -> Table:
    """An empty table: `names` are columns of words, `numbers` of numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
