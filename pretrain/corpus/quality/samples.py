"""What the filters learn from and are judged by: documents of the sources of a recipe, in part held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pretrain.config.corpus import Corpus, CorpusSource
from pretrain.config.errors import ConfigError, nearest
from pretrain.corpus.clean import Dropped, Rule, Tallies, rules
from pretrain.corpus.document import Broken, Unit, text_key
from pretrain.corpus.progress import Reporter
from pretrain.corpus.sources import find_units, read_unit

HELD_OUT = 2**64 // 10
"""A tenth: texts whose second hash is below. That of a corpus's validation is too, so it is never learned from."""


@dataclass
class Sample:
    """Documents of one source."""

    source: str
    good: bool
    texts: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    bytes: int = 0


def take_samples(
    recipe: Corpus, good: Sequence[str], raw: Sequence[str], size: int, reporter: Reporter
) -> list[Sample]:
    """About `size` bytes of each source, spread over its files, after its own rules but for trained filters.

    Limits of the recipe do not apply. Of equal texts the first is taken. Raises ConfigError for unknown sources, broken
    records (where the source refuses them) and sources of which nothing is left.
    """
    _check(recipe, good, raw)
    samples, seen = [], set[tuple[int, int]]()
    for name in (*good, *raw):
        sample = Sample(name, name in good)
        for text in _spread(name, recipe.sources[name], size):
            key = text_key(text.encode())
            if key not in seen:
                seen.add(key)
                (sample.held_out if key[1] < HELD_OUT else sample.texts).append(text)
                sample.bytes += len(text.encode())
        if not sample.texts or not sample.held_out:
            rule = f"gives {len(sample.texts)} documents to learn from and {len(sample.held_out)} to hold out"
            raise ConfigError.of(f"sources.{name}", size, rule, "give a larger --sample, or a larger source")
        counts = f"{len(sample.texts):,} documents to learn from, {len(sample.held_out):,} held out"
        reporter.say(f"read {name}: {counts}, {sample.bytes / 1e6:,.1f} MB")
        samples.append(sample)
    return samples


def _check(recipe: Corpus, good: Sequence[str], raw: Sequence[str]) -> None:
    for option, names in (("--good", good), ("--raw", raw)):
        for name in names or [""]:
            if name not in recipe.sources:
                guess = nearest(name, recipe.sources)
                fix = f"did you mean {guess!r}?" if guess else f"its sources: {', '.join(recipe.sources)}"
                raise ConfigError.of(option, name, "must name a source of the recipe", fix)
    if both := set(good) & set(raw):
        raise ConfigError.of("--raw", sorted(both), "a source is either good or raw", "leave it out of one of them")


def _spread(name: str, source: CorpusSource, size: int) -> Iterator[str]:
    """Each file gives an equal share of what those before it have left."""
    clean = source.clean.model_copy(update={"classifier": None, "perplexity": None})
    cleaning, units, taken = rules(clean, Tallies()), find_units(source), 0
    for number, unit in enumerate(units):
        end = taken + (size - taken) // (len(units) - number)
        for text in _texts(name, source, unit, cleaning):
            taken += len(text.encode())
            yield text
            if taken >= end:
                break


def _texts(name: str, source: CorpusSource, unit: Unit, cleaning: dict[str, Rule]) -> Iterator[str]:
    for record in read_unit(source, unit):
        if isinstance(record, Broken):
            if source.on_error == "refuse":
                where = f"{record.file}, record {record.record:,}"
                fix = f"correct the record, or set sources.{name}.on_error: count to leave such records out"
                raise ConfigError.of(f"sources.{name}", where, record.reason, fix)
        elif text := _cleaned(record.text, cleaning):
            yield text


def _cleaned(text: str, cleaning: dict[str, Rule]) -> str:
    for rule in cleaning.values():
        left = rule(text)
        if isinstance(left, Dropped):
            return ""
        text = left
    return text if text.isascii() or _encodes(text) else ""


def _encodes(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
