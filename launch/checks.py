"""What is looked at on the login node before anything is queued, in one table. No torch."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch import script, slurm
from launch.record import describe, holder, read_json, read_launch
from pretrain.config.constraints import check_run
from pretrain.config.counts import parameter_count
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.run import Run
from pretrain.config.summary import layout_line
from pretrain.config.units import short
from pretrain.config.widths import widths_of
from pretrain.data.dataset import Corpus
from pretrain.data.vocabulary import with_vocabulary
from pretrain.planning.layouts.settle import settle
from pretrain.resilience.locks import is_locked, locked
from pretrain.shards.manifest import load_manifest
from pretrain.shards.tokenizer import tokenizer_of

VOCABULARY = 50_257
"""GPT-2's, for estimates while the corpus cannot be read."""
NODE_LOCAL = ("/tmp", "/var/tmp", "/dev/shm", "/run")
"""Folders that every machine has for itself, as a rule."""
DISK_SPEED = 1e9
"""Bytes a second that a node is assumed to write of a checkpoint."""


class DoubtError(Exception):
    """Something that may be right, but that a person should know."""


@dataclass(frozen=True)
class Case:
    """What is checked: a run with its cluster filled in, started from `workdir`."""

    run: Run
    workdir: Path

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self.workdir / self.run.run_directory

    @property
    def processes(self) -> int:
        """Of all nodes."""
        return self.run.cluster.nodes * self.run.cluster.gpus_per_node


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    name: str
    state: str
    """ok, doubt or refused."""
    detail: str
    problems: tuple[Problem, ...] = ()


Check = tuple[str, Callable[[Case], str]]
"""A name, and what returns a detail or raises ConfigError or DoubtError."""


def run_checks(case: Case, checks: Sequence[Check]) -> list[Result]:
    """All of them, also after one that refuses."""
    return [_result(name, check, case) for name, check in checks]


def refused(results: Sequence[Result]) -> list[Problem]:
    """All that must be corrected first, each once."""
    return list(dict.fromkeys(problem for result in results for problem in result.problems))


def _result(name: str, check: Callable[[Case], str], case: Case) -> Result:
    try:
        return Result(name, "ok", check(case))
    except DoubtError as doubt:
        return Result(name, "doubt", str(doubt))
    except ConfigError as error:
        return Result(name, "refused", error.problems[0].rule, tuple(error.problems))


def layout(case: Case) -> str:
    """The constraint table holds for all numbers of nodes that are allowed."""
    cluster = case.run.cluster
    fewest = cluster.min_nodes or cluster.nodes
    if fewest > cluster.nodes:
        fix = f"cluster.min_nodes: {cluster.nodes}"
        raise ConfigError.of("cluster.min_nodes", fewest, f"must not exceed cluster.nodes ({cluster.nodes})", fix)
    if fewest < cluster.nodes and not case.run.parallel.auto:
        fix = "parallel: auto, or leave cluster.min_nodes out"
        raise ConfigError.of("cluster.min_nodes", fewest, "needs a layout that follows the number of nodes", fix)
    for nodes in {fewest, cluster.nodes}:
        settled(case.run, nodes)
    run = settled(case.run, cluster.nodes)
    return layout_line(run.parallel, case.processes)


def settled(run: Run, nodes: int) -> Run:
    """The run with its layout chosen and checked. Raises ConfigError."""
    per_node = run.cluster.gpus_per_node
    run = settle(run, nodes * per_node, per_node)
    check_run(run, nodes * per_node, per_node)
    return run


def corpus(case: Case) -> str:
    """Manifest, sizes and tokenizer are right, it serves the run's mixtures, the rules hold with its vocabulary."""
    manifest, run = load_manifest(case.run.data.manifest), case.run
    tokenizer_of(manifest)
    settled(with_vocabulary(run, manifest), run.cluster.nodes)
    Corpus(manifest, run.sequence_length, run.data.document_mask).plan(run)
    tokens = sum(source.splits["train"].tokens for source in manifest.sources.values())
    return f"{short(tokens)} tokens, tokenizer {manifest.tokenizer.fingerprint}"


def scripts(case: Case) -> str:
    """The scripts can be rendered."""
    return ", ".join(script.render(case.run, case.workdir))


def place(case: Case) -> str:
    """The run directory can be written, and other machines see it."""
    directory = case.directory
    if wild := set("[]*?{}") & set(str(directory)):
        rule = f"must not contain {' '.join(sorted(wild))}"
        raise ConfigError.of("directory", str(directory), rule, "set `directory:` to another path")
    try:
        with tempfile.NamedTemporaryFile(dir=_existing(directory), prefix=".launch-", mode="w") as file:
            locked(file)  # raises where there are no locks
    except OSError as error:
        rule = f"must be a writable directory ({error.strerror})"
        raise ConfigError.of("directory", str(directory), rule, "set `directory:` or `name:`") from None
    local = case.run.cluster.nodes == 1 and case.run.cluster.launcher != "slurm"
    if not local and str(directory.resolve()).startswith(NODE_LOCAL):
        raise DoubtError(f"{directory} lies where machines usually have a folder each; all nodes must see the same")
    return str(directory)


def space(case: Case) -> str:
    """The disk holds the checkpoints that are kept, and one being written."""
    keep, each = case.run.checkpoint.keep_last + 1, checkpoint_bytes(case.run)
    needed = keep * each
    there = case.directory / "checkpoints"
    held = sum(path.stat().st_size for path in there.rglob("*") if path.is_file()) if there.is_dir() else 0
    free = shutil.disk_usage(_existing(case.directory)).free
    if needed > free + held:
        rule = f"must have {needed / 1e9:,.3g} GB for {keep} checkpoints; {free / 1e9:,.3g} GB are free"
        raise ConfigError.of("directory", str(case.directory), rule, "free some, or lower checkpoint.keep_last")
    return f"{keep} checkpoints of {each / 1e9:,.3g} GB; {free / 1e9:,.3g} GB free"


def checkpoint_bytes(run: Run) -> float:
    """Weights, fp32 copies and moments of Adam."""
    with contextlib.suppress(ConfigError):  # the corpus has a check of its own
        run = with_vocabulary(run, load_manifest(run.data.manifest, check_sizes=False))
    known = run.model if run.model.vocab_size else run.model.model_copy(update={"vocab_size": VOCABULARY})
    widths = widths_of(run)
    return float(parameter_count(known).stored * (widths.parameter + widths.optimizer))


def alone(case: Case) -> str:
    """No other launch of this run is alive or queued."""
    fix = f"wait for it, or: pretrain stop {case.run.run_directory}, pretrain cancel {case.run.run_directory}"
    where, rule = str(case.directory), "must not be in use"
    if (who := holder(case.directory)) is not None:
        raise ConfigError.of("directory", where, f"{rule}: it is supervised by {describe(who)}", fix)
    if is_locked(case.directory / "lock"):
        raise ConfigError.of("directory", where, f"{rule}: a training runs in it", fix)
    launch = read_launch(case.directory)
    if launch is None or not launch.jobs or not slurm.available():
        return "nobody else"
    try:
        found = slurm.states(launch.jobs)
    except slurm.SlurmError as error:
        rule = f"must be known to have no job queued: {error}"
        raise ConfigError.of("directory", where, rule, "try again when SLURM answers") from None
    if living := [f"job {job} is {state}" for job, state in found.items() if not slurm.is_over(state)]:
        raise ConfigError.of("directory", where, f"{rule}: {', '.join(living)}", fix)
    return "nobody else"


def unfinished(case: Case) -> str:
    """There is something left to do."""
    newest = newest_checkpoint(case.directory)
    state = read_json(newest / "state.json") if newest else {}
    tokens, wanted = int(state.get("tokens", 0)), case.run.train.tokens
    if tokens >= wanted:
        rule = f"must be more than what was trained already ({tokens:,} tokens)"
        raise ConfigError.of("train.tokens", wanted, rule, "raise it to go on, or give the run another name")
    return f"{short(tokens)} of {short(wanted)} tokens done"


def newest_checkpoint(directory: Path) -> Path | None:
    """The one that `latest` names."""
    try:
        name = (directory / "checkpoints" / "latest").read_text().strip()
    except OSError:
        return None
    return directory / "checkpoints" / name


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


GENERAL: tuple[Check, ...] = (
    ("layout", layout),
    ("corpus", corpus),
    ("run directory", place),
    ("script", scripts),
    ("disk space", space),
    ("alone", alone),
    ("unfinished", unfinished),
)
