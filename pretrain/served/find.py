"""Where a document went: from what a person calls it to the steps that see it. By inverses; nothing is stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pretrain.config.errors import ConfigError
from pretrain.data.dataset import Corpus
from pretrain.data.pieces import document_tokens, origin_of
from pretrain.served.open import Served, open_served
from pretrain.shards.indexed import IndexedReader
from pretrain.shards.manifest import SPLITS
from pretrain.shards.sidecar import find_rows

Follow = Callable[..., Iterable["Shard"]]
"""Shows progress: corpus.progress.Reporter.follow."""


@dataclass(frozen=True)
class Shard:
    """Where documents may be."""

    source: str
    split: str
    path: str


@dataclass(frozen=True)
class Sighting:
    """One sample that holds some of a document, at its place in the order."""

    index: int
    """In the order."""
    position: int
    """Of the sample inside its source."""
    step: int | None
    """The first is 1; None where a skipped window leaves the sample out."""
    first: int
    """First token of the document that the sample holds."""
    tokens: int


@dataclass(frozen=True)
class Found:
    """A document of the corpus, and what the run makes of it."""

    shard: Shard
    document: int
    """Number in the shard."""
    tokens: int
    origin: dict[str, Any] | None
    """Its row of the sidecar: source, file, record, id, bytes."""
    sightings: tuple[Sighting, ...]
    """In the order of the run; none for a document of the validation split."""

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


def find_documents(served: Served, wanted: Collection[str], follow: Follow) -> Iterator[Found]:
    """All documents that `wanted` means: their ids, FILE:RECORD, or SHARD:NUMBER.

    Reads the ids of all shards, unless only shards are named. Raises ConfigError when a shard or its sidecar cannot be
    read, or has no document of that number.
    """
    every = list(_shards(served.corpus))
    numbers = _numbers(wanted, every)
    by_name = [name for name in wanted if name.rpartition(":")[0] not in numbers]
    looked = follow("shards", every, len(every), lambda shard: shard.path) if by_name else every
    for shard in looked:
        prefix, known = served.corpus.manifest.directory / shard.path, numbers.get(shard.path, set())
        if not known and not by_name:
            continue
        reader = IndexedReader(prefix)
        if known and (last := max(known)) >= reader.documents:
            rule, fix = f"{shard.path} has {reader.documents:,} documents", f"the last is {reader.documents - 1}"
            raise ConfigError.of("document", f"{shard.path}:{last}", rule, fix)
        for document in sorted(known.union(find_rows(prefix, by_name) if by_name else ())):
            tokens = document_tokens(reader, document)
            seen = _sightings(served, shard, tokens) if shard.split == "train" else ()
            origin = origin_of(served.corpus, shard.path, document)
            yield Found(shard, document, len(tokens), origin, tuple(seen))


def who_saw(manifest: Path, wanted: Collection[str], runs: Path) -> Iterator[str]:
    """For each run directory below `runs` that trains on `manifest`: how many steps saw them, then each document."""
    for directory in sorted(path.parent for path in runs.glob("*/run.yaml")):
        with suppress(ConfigError):  # of another version, or of a corpus that is gone
            served = open_served(str(directory))
            if Path(served.run.data.manifest).resolve() != manifest.resolve():
                continue
            found = list(find_documents(served, wanted, lambda _what, shards, *_: shards))
            steps = {
                one.step for document in found for one in document.sightings if one.step and one.step <= served.steps
            }
            yield f"{directory}: {len(steps):,} of {served.steps:,} steps saw {'any' if steps else 'none'} of them"
            yield from (found_text(served, document) for document in found if document.sightings)


def found_text(served: Served, found: Found) -> str:
    """The document and its steps, a line each."""
    shard, origin = found.shard, found.origin or {}
    name = f" ({origin['id'] or '{}:{}'.format(origin['file'], origin['record'])})" if origin else ""
    lines = [f"{shard.path}:{found.document}{name}, {found.tokens:,} tokens of {shard.source}"]
    if shard.split != "train":
        return f"{lines[0]}: held out for {shard.split}, no step is trained on it"
    if not found.sightings:
        lines.append(f"  is not among the {served.total_steps:,} steps of {served.name}")
    for one in found.sightings:
        what = f"tokens {one.first:,} to {one.first + one.tokens - 1:,}, sample {one.index} of the order"
        lines.append(f"  {_when(served, one.step)}: {what}")
    return "\n".join(lines)


def _when(served: Served, step: int | None) -> str:
    if step is None:
        return "left out (skipped)"
    return f"step {step:,}" + ("" if step <= served.steps else ", to come")


def _shards(corpus: Corpus) -> Iterator[Shard]:
    for name, source in corpus.manifest.sources.items():
        for split in SPLITS:
            for shard in source.splits[split].shards:
                yield Shard(name, split, shard.path)


def _sightings(served: Served, shard: Shard, tokens: range) -> list[Sighting]:
    """All samples of the run that hold some of these tokens of a training shard."""
    corpus, plan = served.corpus, served.order.plan
    source, seen = corpus.sources.index(shard.source), list[Sighting]()
    stream = corpus.train[source]
    start = stream.first_token(shard.path) + tokens.start
    mine = range(start, start + len(tokens))
    for position in stream.samples_with(mine):
        window = stream.window(position)
        first, stop = max(mine.start, window.start), min(mine.stop, window.stop)
        for index in served.order.indices(source, position, served.samples):
            before = plan.served_before(index)
            step = None if before is None else plan.step_of(before) + 1
            seen.append(Sighting(index, position, step, first - start, stop - first))
    return sorted(seen, key=lambda one: one.index)


def _numbers(wanted: Collection[str], every: Sequence[Shard]) -> dict[str, set[int]]:
    """Documents that are named by shard and number."""
    paths, numbers = {shard.path for shard in every}, dict[str, set[int]]()
    for name in wanted:
        path, _, number = name.rpartition(":")
        if path in paths and number.isdecimal():
            numbers.setdefault(path, set()).add(int(number))
    return numbers
