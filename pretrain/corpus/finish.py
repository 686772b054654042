"""The last phase: report and manifest, which appear when everything else is there."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from pretrain.config.corpus import Corpus
from pretrain.config.errors import ConfigError
from pretrain.corpus import encode, report
from pretrain.corpus.encode import ShardTask
from pretrain.corpus.preparation import Preparation
from pretrain.shards.indexed import token_dtype
from pretrain.shards.manifest import SPLITS, Manifest, Packing, Shard, Source, Split, Stage, TokenizerRecord


def finish(
    preparation: Preparation, stages: dict[str, list[Stage]], tokenizer: TokenizerRecord, tasks: list[ShardTask]
) -> None:
    """Write report and manifest, and clean up. Raises ConfigError when a shard is missing."""
    shards = [(task, _shard(task)) for task in tasks]
    manifest, beside = _manifest(preparation, stages, tokenizer, shards), preparation.workspace.beside
    report.write(manifest, beside)
    preparation.workspace.finish(manifest)


def _shard(task: ShardTask) -> Shard:
    shard = encode.done(task)
    if shard is None:
        fix = "run `pretrain corpus prepare` again: what is finished is kept"
        raise ConfigError.of(f"sources.{task.source}", task.path, "is a shard that is not written yet", fix)
    return shard


def _manifest(
    preparation: Preparation,
    stages: dict[str, list[Stage]],
    tokenizer: TokenizerRecord,
    shards: list[tuple[ShardTask, Shard]],
) -> Manifest:
    recipe = preparation.recipe
    sources: dict[str, Source] = {}
    for name, source in recipe.sources.items():
        splits = {
            split: Split.of([shard for task, shard in shards if (task.source, task.split) == (name, split)])
            for split in SPLITS
        }
        sources[name] = Source(str(source.weight), tuple(stages[name]), splits)
    return Manifest(
        name=recipe.name,
        tokenizer=tokenizer,
        dtype=token_dtype(tokenizer.vocab_size),
        appends_end_of_text=recipe.append_end_of_text,
        sources=sources,
        recipe=plain(recipe),
        code_version=importlib.metadata.version("pretrain"),
        prepared_from=preparation.workspace.key,
        packing=Packing(recipe.packing.method, recipe.packing.sequence_length) if recipe.packing else None,
    )


def plain(recipe: Corpus) -> dict[str, Any]:
    """The recipe without who does the work, so that corpora made by different numbers of processes are equal."""
    return {key: value for key, value in recipe.plain().items() if key not in ("workers", "executor")}
