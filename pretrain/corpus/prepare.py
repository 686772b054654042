"""`prepare`: from a recipe to shards and a manifest, in three stages, going on where a killed call stopped."""

from __future__ import annotations

import importlib.metadata
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from pretrain.config.corpus import Corpus, normalised
from pretrain.config.errors import ConfigError
from pretrain.config.section import fingerprint
from pretrain.corpus import encode, read
from pretrain.corpus.document import Unit
from pretrain.corpus.encode import ShardTask
from pretrain.corpus.plan import CODES, plan_shards
from pretrain.corpus.pool import Pool, default_workers
from pretrain.corpus.progress import Reporter
from pretrain.corpus.read import SHOWN, ReadTask, UnitResult
from pretrain.corpus.select import HASHES, Selected, select, within_limits
from pretrain.corpus.sources import find_units
from pretrain.corpus.spill import TRAIN
from pretrain.corpus.workspace import Workspace, locked
from pretrain.shards.files import write_atomically
from pretrain.shards.indexed import token_dtype
from pretrain.shards.manifest import SPLITS, Manifest, Packing, Shard, Source, Split, TokenizerRecord, load_manifest
from tokenizer import Tokenizer, load_tokenizer, train_tokenizer

FORMAT = 1
"""Raised when the same recipe would give other tokens than before."""


def prepare(recipe: Corpus, reporter: Reporter | None = None) -> Path:
    """Make the corpus of a recipe and return the path of its manifest.

    Does nothing when recipe, inputs and tokenizer are those of the manifest that is there. Goes on with a killed call.
    The result never depends on `workers`. Raises ConfigError: bad input, a full disk, a directory in use.
    """
    reporter = reporter or Reporter(quiet=True)
    if note := normalised({name: source.weight for name, source in recipe.sources.items()}):
        reporter.say(note)
    directory = Path(recipe.corpus_directory)
    with locked(directory):
        given = _given(recipe)
        units = {name: _units(name, recipe) for name in recipe.sources}
        workspace = Workspace(directory, _key(recipe, units, given))
        if workspace.finished():
            workspace.clean()
            _refresh(recipe, workspace, reporter)
            return workspace.manifest
        _announce(workspace, reporter)
        with Pool(recipe.workers or default_workers()) as pool:
            _make(recipe, workspace, units, given, pool, reporter)
    return workspace.manifest


def _refresh(recipe: Corpus, workspace: Workspace, reporter: Reporter) -> None:
    """The tokens are there already; name and weights stand in the manifest alone."""
    old = load_manifest(workspace.manifest)
    sources = {name: replace(old.sources[name], weight=str(source.weight)) for name, source in recipe.sources.items()}
    new = replace(old, name=recipe.name, sources=sources, recipe=_plain(recipe))
    if new == old:
        reporter.say(f"{workspace.manifest} is up to date: recipe, inputs and tokenizer are unchanged")
    else:
        new.save(workspace.manifest)
        reporter.say(f"{workspace.manifest}: the weights (or the name) changed, the tokens are as they were")


def _given(recipe: Corpus) -> Tokenizer | None:
    """The tokenizer that the recipe names, refused now when it cannot end a document."""
    if recipe.tokenizer.path is None:
        return None
    tokenizer = load_tokenizer(recipe.tokenizer.path)
    _ = tokenizer.end_of_text
    return tokenizer


def _units(name: str, recipe: Corpus) -> list[Unit]:
    try:
        return find_units(recipe.sources[name])
    except ConfigError as error:
        raise _named(name, error) from None


def _named(name: str, error: ConfigError) -> ConfigError:
    """Sources do not know their own name in the recipe: `sources.paths` becomes `sources.web.paths`."""
    return ConfigError(
        replace(problem, field=re.sub(rf"^sources\.(?!{re.escape(name)}\b)", f"sources.{name}.", problem.field))
        for problem in error.problems
    )


def _key(recipe: Corpus, units: dict[str, list[Unit]], given: Tokenizer | None) -> str:
    inputs = {
        name: [(unit.items, unit.start, unit.stop, unit.stamp) for unit in found] for name, found in units.items()
    }
    content = {**recipe.content(), "tokenizer": given.fingerprint if given else recipe.content()["tokenizer"]}
    return fingerprint({"format": FORMAT, "recipe": content, "inputs": inputs})


def _announce(workspace: Workspace, reporter: Reporter) -> None:
    replaces = workspace.other_manifest()
    if workspace.open():
        reporter.say(f"going on with {workspace.directory}: what an earlier call finished is kept")
    elif replaces:
        reporter.say(
            f"{workspace.directory} holds another corpus (recipe, inputs or tokenizer changed, or files are damaged): "
            "it is made anew and replaced when that is done"
        )


def _make(
    recipe: Corpus,
    workspace: Workspace,
    units: dict[str, list[Unit]],
    given: Tokenizer | None,
    pool: Pool,
    reporter: Reporter,
) -> None:
    results = {name: _read(recipe, name, workspace, units[name], pool, reporter) for name in recipe.sources}
    selected = select(recipe, results)
    tokenizer = given or _trained(recipe, workspace, selected, reporter)
    tokenizer.save(workspace.new_tokenizer)
    tasks = list(plan_shards(recipe, selected, workspace, tokenizer))
    shards = _encode(tasks, pool, reporter)
    _write_dropped(workspace, results)
    workspace.finish(_manifest(recipe, workspace, selected, tokenizer, list(zip(tasks, shards, strict=True))))
    reporter.say(f"wrote {workspace.manifest}")


def _write_dropped(workspace: Workspace, results: dict[str, list[UnitResult]]) -> None:
    """dropped.jsonl: the first documents that each rule dropped of each source."""
    shown = Counter[tuple[str, str]]()
    lines = []
    for name, units in results.items():
        for row in (row for unit in units for row in unit.dropped):
            shown[name, row["rule"]] += 1
            if shown[name, row["rule"]] <= SHOWN:
                lines.append(orjson.dumps({"source": name, **row}) + b"\n")
    if lines:
        write_atomically(workspace.directory / "dropped.jsonl", b"".join(lines))


def _read(
    recipe: Corpus, name: str, workspace: Workspace, units: list[Unit], pool: Pool, reporter: Reporter
) -> list[UnitResult]:
    """Stage 1 for one source: its units in order, up to its limits."""
    source, by_hash = recipe.sources[name], recipe.order == "hash"
    tasks = [ReadTask(name, source, unit, str(workspace.unit_directory(name, unit.index)), by_hash) for unit in units]
    results: list[UnitResult] = []
    try:
        for result in reporter.follow(f"read {name}", pool.map(_read_once, tasks), len(tasks), _read_note):
            results.append(result)
            if not within_limits(source, results):
                break
    except ConfigError as error:
        raise _named(name, error) from None
    return results


def _read_once(task: ReadTask) -> UnitResult:
    return read.done(task) or read.run(task)


def _read_note(result: UnitResult) -> str:
    return f"{result.documents:,} documents in the last"


def _trained(recipe: Corpus, workspace: Workspace, selected: list[Selected], reporter: Reporter) -> Tokenizer:
    """Train on training documents chosen by hash, or take what an earlier call trained."""
    train = recipe.tokenizer.train
    assert train is not None
    if (workspace.new_tokenizer / "tokenizer.json").is_file():
        return load_tokenizer(workspace.new_tokenizer)
    total = sum(source.count(TRAIN)[1] for source in selected)
    limit = min(HASHES, max(1, HASHES * train.sample // total))
    sample = "everything" if limit == HASHES else f"about {train.sample / 1e6:,.0f} MB of {total / 1e6:,.0f} MB"
    reporter.say(f"training a tokenizer of {train.vocab_size:,} entries on {sample}")
    try:
        return train_tokenizer(_sample(selected, limit), train.vocab_size)
    except ConfigError as error:
        problem = error.problems[0]
        raise ConfigError.of("tokenizer.train.vocab_size", train.vocab_size, problem.rule, problem.fix) from None


def _sample(selected: list[Selected], limit: int) -> Iterator[str]:
    for source in selected:
        for run in source.runs:
            yield from run.texts(TRAIN, limit)


def _encode(tasks: list[ShardTask], pool: Pool, reporter: Reporter) -> list[Shard]:
    """Stage 3."""
    shards = pool.map(_encode_once, tasks)
    return list(reporter.follow("encode", shards, len(tasks), lambda shard: f"{shard.tokens:,} tokens in the last"))


def _encode_once(task: ShardTask) -> Shard:
    return encode.done(task) or encode.run(task)


def _manifest(
    recipe: Corpus,
    workspace: Workspace,
    selected: list[Selected],
    tokenizer: Tokenizer,
    shards: list[tuple[ShardTask, Shard]],
) -> Manifest:
    def split(source: str, name: str) -> Split:
        own = tuple(shard for task, shard in shards if (task.source, task.code) == (source, CODES[name]))
        return Split.of(own)

    sources: dict[str, Source] = {}
    for source in selected:
        weight = str(recipe.sources[source.name].weight)
        splits = {name: split(source.name, name) for name in SPLITS}
        sources[source.name] = Source(weight, tuple(source.stages), splits)
    end = tokenizer.end_of_text
    return Manifest(
        name=recipe.name,
        tokenizer=TokenizerRecord("tokenizer", tokenizer.fingerprint, tokenizer.vocab_size, end),
        dtype=token_dtype(tokenizer.vocab_size),
        appends_end_of_text=recipe.append_end_of_text,
        sources=sources,
        recipe=_plain(recipe),
        code_version=importlib.metadata.version("pretrain"),
        prepared_from=workspace.key,
        packing=Packing(recipe.packing.method, recipe.packing.sequence_length) if recipe.packing else None,
    )


def _plain(recipe: Corpus) -> dict[str, Any]:
    """The recipe without the number of processes, so that corpora made with different numbers are equal."""
    return {key: value for key, value in recipe.plain().items() if key != "workers"}
