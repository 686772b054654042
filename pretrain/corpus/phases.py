"""The phases of a preparation: lists of independent tasks; a task that is done does nothing when it comes again.

read     a task a unit of the input: read, clean, write runs with marks
lines    one task: which lines stood before              (where lines are deduplicated)
rewrite  a task a unit: take them out                    (where lines are deduplicated)
select   one task: limits, duplicates, benchmarks, validation; the tokenizer; which shards there are
encode   a task a shard
finish   one task: the manifest

A phase needs all tasks of the one before, and knows what they did from the disk alone: so it does not matter which
process on which machine did them, or how many there were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from pretrain.config.errors import ConfigError
from pretrain.corpus import encode, read
from pretrain.corpus.across import rewrite
from pretrain.corpus.across.exact import HASHES
from pretrain.corpus.across.lines import find_repeated
from pretrain.corpus.across.rewrite import RewriteTask
from pretrain.corpus.encode import ShardTask
from pretrain.corpus.finish import finish
from pretrain.corpus.plan import Layout, layouts, plan_shards
from pretrain.corpus.preparation import Preparation
from pretrain.corpus.read import ReadTask
from pretrain.corpus.select import limited, select
from pretrain.corpus.selected import Selected
from pretrain.corpus.spill import TRAIN, Run
from pretrain.corpus.statistics import examples_dropped, statistics
from pretrain.corpus.workspace import DROPPED, STATISTICS
from pretrain.shards.files import write_atomically
from pretrain.shards.indexed import token_dtype
from pretrain.shards.manifest import Stage, TokenizerRecord
from tokenizer import Tokenizer, load_tokenizer, train_tokenizer


@dataclass(frozen=True)
class Phase:
    """A step of a preparation that waits for the whole one before."""

    name: str
    tasks: Callable[[Preparation], Sequence[Any]]
    """What there is to do, in order."""
    run: Callable[[Any], str]
    """Do one task unless it is done, and say in a few words what came of it."""
    alone: bool = False
    """One task, which needs the memory and not the processors of a machine."""


def phases(preparation: Preparation) -> list[Phase]:
    """Those of a recipe, in order."""
    lines = LINES if preparation.recipe.deduplicate.lines else ()
    return [Phase("read", Preparation.read_tasks, read_unit), *lines, SELECT, ENCODE, FINISH]


def read_unit(task: ReadTask) -> str:
    """Phase read."""
    if read.enough(task):
        return f"{task.name} has all that it may have"
    try:
        result = read.done(task.directory) or read.run(task)
    except ConfigError as error:
        raise named(task.name, error) from None
    return f"{result.documents:,} documents in the last, of {task.name}"


def named(source: str, error: ConfigError) -> ConfigError:
    """Sources do not know their own name in the recipe: `sources.paths` becomes `sources.web.paths`."""
    return ConfigError(
        replace(problem, field=re.sub(rf"^sources\.(?!{re.escape(source)}\b)", f"sources.{source}.", problem.field))
        for problem in error.problems
    )


def _find_lines(preparation: Preparation) -> str:
    every: list[Run] = []
    for name, units in preparation.results("read").items():
        runs, keeps = limited(preparation.recipe.sources[name], units)
        for run, keep in zip(runs, keeps, strict=True):
            run.save_keep(keep)
        every += [Run(run.path) for run in runs]
    find_repeated(every)
    return "repeated lines are known"


def _rewrite_tasks(preparation: Preparation) -> list[RewriteTask]:
    lines = preparation.recipe.deduplicate.lines
    assert lines is not None
    return [
        RewriteTask(
            lines,
            unit,
            preparation.lines_directory(name, unit),
            preparation.by_hash,
            preparation.recipe.sources[name].minimum_bytes,
            preparation.last_marks,
        )
        for name, units in preparation.results("read").items()
        for unit in units
    ]


def _rewrite(task: RewriteTask) -> str:
    result = read.done(task.directory) or rewrite.run(task)
    return f"{result.documents:,} documents in the last"


@dataclass(frozen=True)
class Plan:
    """What selecting decided: .prepare/plan.json."""

    stages: dict[str, list[Stage]]
    """Of each source."""
    layouts: list[Layout]
    tokenizer: TokenizerRecord

    @classmethod
    def load(cls, preparation: Preparation) -> Plan:
        """Raises FileNotFoundError before the phase select is done."""
        plain = orjson.loads((preparation.workspace.work / "plan.json").read_bytes())
        stages = {name: [Stage(**stage) for stage in found] for name, found in plain["stages"].items()}
        found = [Layout(**{**one, "runs": tuple(map(tuple, one["runs"]))}) for one in plain["layouts"]]
        return cls(stages, found, TokenizerRecord(**plain["tokenizer"]))


def _select(preparation: Preparation) -> str:
    path = preparation.workspace.work / "plan.json"
    if not path.is_file():
        stage = "lines" if preparation.recipe.deduplicate.lines else "read"
        selected = select(preparation.recipe, preparation.results(stage), preparation.workspace)
        tokenizer = _tokenizer(preparation, selected)
        encode.keep_tokenizer(preparation.workspace.new_tokenizer, tokenizer)
        stages = {source.name: source.stages for source in selected}
        plan = Plan(stages, layouts(preparation.recipe, selected, tokenizer), _record(tokenizer))
        _tell(preparation, selected)
        write_atomically(path, orjson.dumps(asdict(plan)))
    return "documents are chosen"


def _tell(preparation: Preparation, selected: list[Selected]) -> None:
    """What people will look at."""
    read_units, beside = preparation.results("read"), preparation.workspace.beside
    write_atomically(beside / STATISTICS, orjson.dumps(statistics(read_units, selected), option=orjson.OPT_INDENT_2))
    if lines := examples_dropped(read_units):
        write_atomically(beside / DROPPED, lines)


def _tokenizer(preparation: Preparation, selected: list[Selected]) -> Tokenizer:
    """The one that the recipe names, or one trained on training documents chosen by hash."""
    config = preparation.recipe.tokenizer
    if config.path is not None:
        return preparation.given or load_tokenizer(config.path)
    train = config.train
    assert train is not None
    total = sum(source.count(TRAIN)[1] for source in selected)
    limit = min(HASHES, max(1, HASHES * train.sample // total))
    try:
        return train_tokenizer(_sample(selected, limit), **train.options())
    except ConfigError as error:
        problems = [replace(problem, field=f"tokenizer.train.{problem.field}") for problem in error.problems]
        raise ConfigError(problems) from None


def _sample(selected: list[Selected], limit: int) -> Iterator[str]:
    for source in selected:
        for run in source.runs:
            yield from run.texts(TRAIN, limit)


def _record(tokenizer: Tokenizer) -> TokenizerRecord:
    return TokenizerRecord("tokenizer", tokenizer.fingerprint, tokenizer.vocab_size, tokenizer.end_of_text)


def _shard_tasks(preparation: Preparation) -> list[ShardTask]:
    recipe, workspace, plan = preparation.recipe, preparation.workspace, Plan.load(preparation)
    dtype = token_dtype(plan.tokenizer.vocab_size)
    return [task for layout in plan.layouts for task in plan_shards(recipe, layout, workspace, dtype)]


def _encode(task: ShardTask) -> str:
    shard = encode.done(task) or encode.run(task)
    return f"{shard.tokens:,} tokens in the last"


def _finish(preparation: Preparation) -> str:
    plan = Plan.load(preparation)
    finish(preparation, plan.stages, plan.tokenizer, _shard_tasks(preparation))
    return f"wrote {preparation.workspace.manifest}"


def _once(preparation: Preparation) -> list[Preparation]:
    return [preparation]


LINES = (
    Phase("lines", _once, _find_lines, alone=True),
    Phase("rewrite", _rewrite_tasks, _rewrite),
)
SELECT = Phase("select", _once, _select, alone=True)
ENCODE = Phase("encode", _shard_tasks, _encode)
FINISH = Phase("finish", _once, _finish, alone=True)
