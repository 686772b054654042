"""`pretrain corpus train-classifier | train-perplexity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pretrain.corpus.progress import Reporter
    from pretrain.corpus.quality.samples import Sample
    from pretrain.corpus.quality.train import Trained

Recipe = Annotated[str, typer.Argument(help="RECIPE.yaml, or the name of one in configs/data/.")]
Good = Annotated[str, typer.Option(help="Its sources of good text, such as webtext,books,wiki.")]
Raw = Annotated[str, typer.Option(help="Its raw sources, such as web.")]
Output = Annotated[Path, typer.Option(help="Directory to write, which `path` of the rule then names.")]
SampleSize = Annotated[str, typer.Option(help="Bytes of text of each source, in memory.")]


def train_classifier(recipe: Recipe, good: Good, raw: Raw, output: Output, sample: SampleSize = "100MB") -> None:
    """Train GPT-3's quality filter (rule `classifier`) and tell how it judges held-out documents."""
    from pretrain.corpus.quality import train

    samples, reporter = _samples(recipe, good, raw, sample)
    _tell("score", output, train.train_classifier(samples, output, reporter))


def train_perplexity(
    recipe: Recipe,
    good: Good,
    raw: Raw,
    output: Output,
    sample: SampleSize = "100MB",
    vocab_size: Annotated[str, typer.Option(help="Entries of its tokenizer.")] = "32k",
    order: Annotated[int, typer.Option(help="Longest n-gram, in tokens.", min=2, max=5)] = 3,
) -> None:
    """Train CCNet's perplexity filter (rule `perplexity`) and tell how it judges held-out documents."""
    from pretrain.corpus.quality import train

    samples, reporter = _samples(recipe, good, raw, sample)
    entries = _number("--vocab-size", vocab_size)
    _tell("perplexity", output, train.train_perplexity(samples, output, entries, order, reporter))


def _samples(recipe: str, good: str, raw: str, size: str) -> tuple[list[Sample], Reporter]:
    from pretrain.config.corpus import Corpus
    from pretrain.config.load import find, load_yaml
    from pretrain.corpus.progress import Reporter
    from pretrain.corpus.quality.samples import take_samples

    corpus, reporter = Corpus.parse(load_yaml(find(recipe, "data"))), Reporter()
    return take_samples(corpus, _names(good), _names(raw), _number("--sample", size), reporter), reporter


def _names(option: str) -> list[str]:
    return [name.strip() for name in option.split(",") if name.strip()]


def _number(option: str, text: str) -> int:
    from pretrain.config.errors import ConfigError
    from pretrain.config.units import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise ConfigError.of(option, text, str(error), "for example 32k or 100MB") from None


def _tell(measure: str, output: Path, trained: Trained) -> None:
    from pretrain.corpus.show import terminal

    print(f"wrote {output}: fingerprint {trained.fingerprint}")
    trained.judgement.print(measure, terminal())
