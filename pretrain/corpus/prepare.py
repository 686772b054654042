"""`prepare`: from a recipe to shards and a manifest, phase by phase, going on where a killed call stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pretrain.config.corpus import Corpus, CorpusSource, normalised
from pretrain.config.errors import ConfigError
from pretrain.config.own import SOURCE
from pretrain.config.section import fingerprint
from pretrain.corpus import report
from pretrain.corpus.across.evaluation import evaluation
from pretrain.corpus.clean import models
from pretrain.corpus.document import Unit
from pretrain.corpus.finish import plain
from pretrain.corpus.phases import named, phases
from pretrain.corpus.pool import Pool, default_workers
from pretrain.corpus.preparation import Preparation
from pretrain.corpus.progress import Reporter
from pretrain.corpus.sources import find_units
from pretrain.corpus.workspace import Workspace, locked
from pretrain.shards.files import clear_errors
from pretrain.shards.manifest import load_manifest
from tokenizer import Tokenizer, load_tokenizer

FORMAT = 1
"""Raised when the same recipe would give other tokens than before."""


def prepare(recipe: Corpus, reporter: Reporter | None = None) -> Path:
    """Make the corpus of a recipe and return the path of its manifest.

    Does nothing when recipe, inputs and tokenizer are those of the manifest that is there. Goes on with a killed call.
    The result never depends on who does the work. With `executor.kind: slurm` it returns when the jobs are submitted.
    Raises ConfigError: bad input, a full disk, a directory in use.
    """
    reporter = reporter or Reporter(quiet=True)
    if note := normalised({name: source.weight for name, source in recipe.sources.items()}):
        reporter.say(note)
    directory = Path(recipe.corpus_directory)
    with locked(directory):
        given = _given(recipe)
        units = {name: _units(name, recipe) for name in recipe.sources}
        workspace = Workspace(directory, _key(recipe, units, given))
        if workspace.jobs.is_file():
            from pretrain.corpus.slurm import under_way

            if under_way(recipe, workspace, reporter):
                return workspace.manifest
        if workspace.finished():
            workspace.clean()
            _refresh(recipe, workspace, reporter)
            return workspace.manifest
        if recipe.executor.kind == "slurm":
            from pretrain.corpus.slurm import submit

            submit(Preparation(recipe, workspace, units), reporter)
        else:
            _announce(workspace, reporter)
            run_here(Preparation(recipe, workspace, units, given), reporter)
    return workspace.manifest


def run_here(preparation: Preparation, reporter: Reporter) -> None:
    """All phases, in processes of this machine."""
    preparation.save()
    full = clear_errors(preparation.workspace.directory)
    with full, Pool(preparation.recipe.workers or default_workers()) as pool:
        for phase in phases(preparation):
            tasks = phase.tasks(preparation)
            # one task needs no process of its own, which would take a second to start
            done = map(phase.run, tasks) if len(tasks) == 1 else pool.map(phase.run, tasks)
            for _ in reporter.follow(phase.name, done, len(tasks), str):
                pass


def _refresh(recipe: Corpus, workspace: Workspace, reporter: Reporter) -> None:
    """The tokens are there already; name and weights stand in manifest and report alone."""
    old = load_manifest(workspace.manifest)
    sources = {name: replace(old.sources[name], weight=str(source.weight)) for name, source in recipe.sources.items()}
    new = replace(old, name=recipe.name, sources=sources, recipe=plain(recipe))
    if new == old:
        reporter.say(f"{workspace.manifest} is up to date: recipe, inputs and tokenizer are unchanged")
    else:
        report.write(new, workspace.directory)
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
        if own := recipe.sources[name].own:
            own.check(f"sources.{name}", SOURCE, tuple(CorpusSource.keys()))
        return find_units(recipe.sources[name])
    except ConfigError as error:
        raise named(name, error) from None


def _key(recipe: Corpus, units: dict[str, list[Unit]], given: Tokenizer | None) -> str:
    inputs = {
        name: [(unit.items, unit.start, unit.stop, unit.stamp) for unit in found] for name, found in units.items()
    }
    content = {**recipe.content(), "tokenizer": given.fingerprint if given else recipe.content()["tokenizer"]}
    if recipe.decontaminate:
        content["evaluation"] = fingerprint(evaluation(recipe.decontaminate).hashes.tolist())
    trained = {n: found for n, one in recipe.sources.items() if (found := models(one.clean, f"sources.{n}.clean"))}
    if trained:
        content["models"] = trained
    if own := {name: source.own.source_hash(name) for name, source in recipe.sources.items() if source.own}:
        content["own"] = own
    # the order of the sources says whose copy of a document stays
    return fingerprint({"format": FORMAT, "recipe": content, "sources": list(inputs), "inputs": inputs})


def _announce(workspace: Workspace, reporter: Reporter) -> None:
    replaces = workspace.other_manifest()
    if workspace.open():
        reporter.say(f"going on with {workspace.directory}: what an earlier call finished is kept")
    elif replaces:
        reporter.say(
            f"{workspace.directory} holds another corpus (recipe, inputs or tokenizer changed, or files are damaged): "
            "it is made anew and replaced when that is done"
        )
